{{/* What pods of servers and gateways have in common: (dict "root" $ "s" settings "component" label "tolerations" list). */}}
{{- define "sortie.podHead" -}}
serviceAccountName: {{ include "sortie.serviceAccount" .root }}
automountServiceAccountToken: false
# a Service named sortie-… would otherwise put SORTIE_… variables into the process
enableServiceLinks: false
terminationGracePeriodSeconds: {{ int .s.terminationGracePeriodSeconds }}
securityContext: {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .s.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .s.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .s.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- if .s.topologySpreadConstraints }}
  {{- toYaml .s.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "sortie.selector" (dict "root" $.root "group" $.component) | nindent 8 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* A server's pod: (dict "root" $ "g" group "gpus" count "name" name). */}}
{{- define "sortie.podSpec" -}}
{{- $v := .root.Values -}}
{{- $tolerations := .g.tolerations -}}
{{- if and .gpus .g.gpu.toleration -}}
{{- $tolerations = prepend $tolerations (dict "key" "nvidia.com/gpu" "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- include "sortie.podHead" (dict "root" .root "s" .g "component" .g.name "tolerations" $tolerations) }}
{{- with .g.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- if or .g.initContainers .g.modelCache.download.enabled }}
initContainers:
  {{- if .g.modelCache.download.enabled }}
  - name: download
    image: {{ .g.modelCache.download.image }}
    imagePullPolicy: {{ .g.image.pullPolicy }}
    {{- with .g.modelCache.download.command }}
    command: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .g.modelCache.download.args }}
    args: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .g.modelCache.download.env }}
    env: {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext: {{- toYaml $v.securityContext | nindent 6 }}
    resources: {{- toYaml .g.resources | nindent 6 }}
    volumeMounts:
      - name: models
        mountPath: {{ .g.modelCache.mountPath }}
      - name: tmp
        mountPath: /tmp
  {{- end }}
  {{- with .g.initContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
containers:
  - name: server
    image: {{ include "sortie.image" . }}
    imagePullPolicy: {{ .g.image.pullPolicy }}
    args:
      - --config=/etc/sortie/config/server.toml
      {{- with .g.extraArgs }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    env:
      - name: SORTIE_REPLICA
        valueFrom:
          fieldRef:
            fieldPath: metadata.name
      - name: HF_HOME
        value: {{ .g.modelCache.mountPath }}/hub
      {{- if $v.hub.offline }}
      - name: HF_HUB_OFFLINE
        value: "1"
      {{- end }}
      {{- with $v.hub.endpoint }}
      - name: HF_ENDPOINT
        value: {{ . | quote }}
      {{- end }}
      {{- with $v.hub.tokenSecret }}
      - name: HF_TOKEN
        valueFrom:
          secretKeyRef:
            name: {{ . }}
            key: {{ $v.hub.tokenKey }}
      {{- end }}
      {{- with .g.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with .g.envFrom }}
    envFrom: {{- toYaml . | nindent 6 }}
    {{- end }}
    ports:
      - name: grpc
        containerPort: {{ int $v.containerPort }}
      {{- if $v.http.enabled }}
      - name: http
        containerPort: {{ int $v.http.port }}
      {{- end }}
      - name: metrics
        containerPort: {{ int $v.admin.port }}
    {{- include "sortie.probes" (dict "root" .root "probes" .g.probes "port" $v.containerPort "started" "readiness") | nindent 4 }}
    {{- if gt (int .g.drain.preStopSeconds) 0 }}
    lifecycle:
      preStop:
        sleep:
          seconds: {{ int .g.drain.preStopSeconds }}
    {{- end }}
    resources:
      {{- $resources := deepCopy .g.resources }}
      {{- if .gpus }}
      {{- $limits := merge (dict .g.gpu.resource .gpus) (default dict $resources.limits) }}
      {{- $_ := set $resources "limits" $limits }}
      {{- end }}
      {{- toYaml $resources | nindent 6 }}
    securityContext: {{- toYaml $v.securityContext | nindent 6 }}
    volumeMounts:
      - name: config
        mountPath: /etc/sortie/config
        readOnly: true
      - name: models
        mountPath: {{ .g.modelCache.mountPath }}
        readOnly: {{ .g.modelCache.readOnly }}
      - name: tmp
        mountPath: /tmp
      {{- with include "sortie.secrets" .root | fromYamlArray }}
      {{- include "sortie.secretMounts" . | trim | nindent 6 }}
      {{- end }}
      {{- with .g.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ .name }}
  - name: tmp
    emptyDir: {}
  - name: models
    {{- if .g.modelCache.existingClaim }}
    persistentVolumeClaim:
      claimName: {{ .g.modelCache.existingClaim }}
      readOnly: {{ .g.modelCache.readOnly }}
    {{- else if .g.modelCache.persistence.enabled }}
    persistentVolumeClaim:
      claimName: {{ .name }}-models
    {{- else }}
    emptyDir:
      sizeLimit: {{ .g.modelCache.emptyDirSize }}
    {{- end }}
  {{- with include "sortie.secrets" .root | fromYamlArray }}
  {{- include "sortie.secretVolumes" . | trim | nindent 2 }}
  {{- end }}
  {{- with .g.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Secrets that are mounted below /etc/sortie. */}}
{{- define "sortie.secrets" -}}
{{- $all := list -}}
{{- if .Values.tls.enabled }}{{ $all = append $all (dict "name" "tls" "secret" .Values.tls.secretName) }}{{ end -}}
{{- with .Values.apiKeys.existingSecret }}{{ $all = append $all (dict "name" "keys" "secret" .) }}{{ end -}}
{{- if .Values.admin.models }}{{ $all = append $all (dict "name" "admin" "secret" .Values.admin.keysSecret) }}{{ end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* Their mounts and volumes, of a list of names and secrets. */}}
{{- define "sortie.secretMounts" -}}
{{- range . }}
- name: {{ .name }}
  mountPath: /etc/sortie/{{ .name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "sortie.secretVolumes" -}}
{{- range . }}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    {{- with .only }}
    items:
      - key: {{ . }}
        path: {{ . }}
    {{- end }}
    # readable by the group of the pod, as a whole folder: a subPath would never be renewed
    defaultMode: 288
{{- end }}
{{- end -}}

{{/* Probes: (dict "root" $ "probes" settings "port" port "started" service). gRPC by name; where the port speaks TLS, which the
kubelet's gRPC probes do not, the admin port. */}}
{{- define "sortie.probes" -}}
{{- $p := .probes -}}
{{- $paths := dict "readiness" "/readyz" "liveness" "/livez" -}}
{{- range $probe := list
  (dict "kind" "startupProbe" "service" .started "failures" (div (add (int $p.startupSeconds) (sub (int $p.periodSeconds) 1)) (int $p.periodSeconds)))
  (dict "kind" "readinessProbe" "service" "readiness" "failures" $p.readinessFailures)
  (dict "kind" "livenessProbe" "service" "liveness" "failures" $p.livenessFailures) }}
{{ $probe.kind }}:
  {{- if $.root.Values.tls.enabled }}
  httpGet:
    path: {{ index $paths $probe.service }}
    port: metrics
  {{- else }}
  grpc:
    port: {{ int $.port }}
    service: {{ $probe.service }}
  {{- end }}
  periodSeconds: {{ int $p.periodSeconds }}
  timeoutSeconds: {{ int $p.timeoutSeconds }}
  failureThreshold: {{ int $probe.failures }}
{{- end }}
{{- end -}}
