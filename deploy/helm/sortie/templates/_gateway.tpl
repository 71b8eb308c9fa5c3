{{/* The gateway of one group: (dict "root" $ "g" group "name" name-of-the-gateway). */}}

{{- define "sortie.gatewayToml" -}}
{{- $v := .root.Values -}}
{{- $w := .g.gateway -}}
{{- $keys := "" -}}
{{- if $w.apiKeys.existingSecret -}}{{- $keys = $w.apiKeys.key -}}{{- else if $v.apiKeys.existingSecret -}}{{- $keys = $v.apiKeys.key -}}{{- end -}}
{{- $clientAuth := and $v.tls.clientAuth $w.tls.clientAuth -}}
{{- include "sortie.frontendToml" (dict "root" .root "port" $w.port "http" $w.http "keys" $keys "clientAuth" $clientAuth "drain" $w.drain) }}
endpoint = {{ prepend $w.endpoints (printf "dns:///%s-%s-headless.%s:%d" (include "sortie.fullname" .root) .g.name .root.Release.Namespace (int $v.containerPort)) | toJson }}
{{- if $w.servers.tokenSecret }}
endpoint_token_file = {{ printf "/etc/sortie/servers-key/%s" $w.servers.tokenKey | toJson }}
{{- end }}
{{- if $v.tls.enabled }}
endpoint_tls_ca = "/etc/sortie/{{ ternary "servers-tls" "tls" (not (empty $w.tls.secretName)) }}/ca.crt"
{{- if $w.servers.clientCertSecret }}
endpoint_tls_cert = "/etc/sortie/servers-cert/tls.crt"
endpoint_tls_key = "/etc/sortie/servers-cert/tls.key"
{{- end }}
{{- with $w.servers.tlsDomain }}
endpoint_tls_domain = {{ toJson . }}
{{- end }}
{{- end }}
{{- range $name, $value := $w.config }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{- end -}}

{{/* Secrets that are mounted below /etc/sortie; of the servers' certificate the authority alone. */}}
{{- define "sortie.gatewaySecrets" -}}
{{- $v := .root.Values -}}
{{- $w := .g.gateway -}}
{{- $all := list -}}
{{- if $v.tls.enabled -}}
{{- $all = append $all (dict "name" "tls" "secret" (default $v.tls.secretName $w.tls.secretName)) -}}
{{- if $w.tls.secretName -}}{{- $all = append $all (dict "name" "servers-tls" "secret" $v.tls.secretName "only" "ca.crt") -}}{{- end -}}
{{- end -}}
{{- with default $v.apiKeys.existingSecret $w.apiKeys.existingSecret -}}{{- $all = append $all (dict "name" "keys" "secret" .) -}}{{- end -}}
{{- with $w.servers.tokenSecret -}}{{- $all = append $all (dict "name" "servers-key" "secret" .) -}}{{- end -}}
{{- with $w.servers.clientCertSecret -}}{{- $all = append $all (dict "name" "servers-cert" "secret" .) -}}{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{- define "sortie.gatewayPodSpec" -}}
{{- $v := .root.Values -}}
{{- $w := .g.gateway -}}
{{- $secrets := include "sortie.gatewaySecrets" . | fromYamlArray -}}
{{- include "sortie.podHead" (dict "root" .root "s" $w "component" (printf "%s-gateway" .g.name) "tolerations" $w.tolerations) }}
containers:
  - name: gateway
    image: {{ include "sortie.gatewayImage" . }}
    imagePullPolicy: {{ .g.image.pullPolicy }}
    args:
      - --config=/etc/sortie/config/gateway.toml
      {{- with $w.extraArgs }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    env:
      - name: SORTIE_REPLICA
        valueFrom:
          fieldRef:
            fieldPath: metadata.name
      {{- with $w.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with $w.envFrom }}
    envFrom: {{- toYaml . | nindent 6 }}
    {{- end }}
    ports:
      - name: grpc
        containerPort: {{ int $w.port }}
      {{- if $w.http.enabled }}
      - name: http
        containerPort: {{ int $w.http.port }}
      {{- end }}
      - name: metrics
        containerPort: {{ int $v.admin.port }}
    {{- include "sortie.probes" (dict "root" .root "probes" $w.probes "port" $w.port "started" "liveness") | nindent 4 }}
    {{- if gt (int $w.drain.preStopSeconds) 0 }}
    lifecycle:
      preStop:
        sleep:
          seconds: {{ int $w.drain.preStopSeconds }}
    {{- end }}
    resources: {{- toYaml $w.resources | nindent 6 }}
    securityContext: {{- toYaml $v.securityContext | nindent 6 }}
    volumeMounts:
      - name: config
        mountPath: /etc/sortie/config
        readOnly: true
      {{- with $secrets }}
      {{- include "sortie.secretMounts" . | trim | nindent 6 }}
      {{- end }}
      {{- with $w.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ .name }}
  {{- with $secrets }}
  {{- include "sortie.secretVolumes" . | trim | nindent 2 }}
  {{- end }}
  {{- with $w.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
