{{/* What a schema cannot say. Each failure names the value and what to do. */}}

{{/* The time that a pod has to end: (dict "root" $ "s" settings "what" words). */}}
{{- define "sortie.checkDrain" -}}
{{- $need := add (int .s.drain.preStopSeconds) (int .s.drain.graceSeconds) (int .s.drain.longestDeadlineSeconds) (int .s.drain.marginSeconds) -}}
{{- if gt (int $need) (int .s.terminationGracePeriodSeconds) -}}
{{- fail (printf "%s drain needs %d s (preStopSeconds + graceSeconds + longestDeadlineSeconds + marginSeconds), terminationGracePeriodSeconds is %d: requests would be cut" .what (int $need) (int .s.terminationGracePeriodSeconds)) -}}
{{- end -}}
{{- if and (gt (int .s.drain.preStopSeconds) 0) (semverCompare "<1.29.0-0" .root.Capabilities.KubeVersion.Version) -}}
{{- fail (printf "%s drain.preStopSeconds needs Kubernetes 1.29; use drain.graceSeconds, which the server waits by itself" .what) -}}
{{- end -}}
{{- end -}}

{{- define "sortie.checkGroup" -}}
{{- $g := .g -}}
{{- include "sortie.checkDrain" (dict "root" .root "s" $g "what" (printf "group %s:" $g.name)) -}}
{{- $longest := printf "%s-%s%s-headless" (include "sortie.fullname" .root) $g.name (ternary "-gateway" "" $g.gateway.enabled) -}}
{{- if gt (len $longest) 63 -}}
{{- fail (printf "group %s: the name of its Service, %s, has more than 63 characters; shorten the group's name or set fullnameOverride" $g.name $longest) -}}
{{- end -}}
{{- if and $g.autoscaling.enabled $g.keda.enabled -}}
{{- fail (printf "group %s: autoscaling.enabled and keda.enabled both scale it; leave one" $g.name) -}}
{{- end -}}
{{- if and $g.autoscaling.enabled (not $g.autoscaling.queueWaitMetric) (not $g.autoscaling.loadMetric) (not $g.autoscaling.metrics) -}}
{{- fail (printf "group %s: autoscaling has no metric: set queueWaitMetric, loadMetric or metrics" $g.name) -}}
{{- end -}}
{{- range $kind := list "autoscaling" "keda" -}}
{{- $s := index $g $kind -}}
{{- if and $s.enabled (gt (int $s.minReplicas) (int $s.maxReplicas)) -}}
{{- fail (printf "group %s: %s.minReplicas is above maxReplicas" $g.name $kind) -}}
{{- end -}}
{{- end -}}
{{- if and $g.keda.enabled (not $g.keda.serverAddress) -}}
{{- fail (printf "group %s: keda.serverAddress is needed, the address of Prometheus" $g.name) -}}
{{- end -}}
{{- $scaled := or $g.autoscaling.enabled $g.keda.enabled -}}
{{- $cache := $g.modelCache -}}
{{- if and $cache.persistence.enabled (not $cache.existingClaim) (or $scaled (gt (int $g.replicaCount) 1)) (not (has "ReadWriteMany" $cache.persistence.accessModes)) -}}
{{- fail (printf "group %s: several pods share the claim, so modelCache.persistence.accessModes needs ReadWriteMany" $g.name) -}}
{{- end -}}
{{- if and $cache.download.enabled (not $cache.download.image) -}}
{{- fail (printf "group %s: modelCache.download.image is needed" $g.name) -}}
{{- end -}}
{{- $names := list -}}
{{- range $g.models -}}
{{- if has .name $names -}}
{{- fail (printf "group %s: model %s is named twice" $g.name .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}

{{- define "sortie.checkGateway" -}}
{{- $g := .g -}}
{{- $w := $g.gateway -}}
{{- $v := .root.Values -}}
{{- include "sortie.checkDrain" (dict "root" .root "s" $w "what" (printf "group %s: gateway:" $g.name)) -}}
{{- if gt (int $w.autoscaling.minReplicas) (int $w.autoscaling.maxReplicas) -}}
{{- fail (printf "group %s: gateway.autoscaling.minReplicas is above maxReplicas" $g.name) -}}
{{- end -}}
{{- if and $w.autoscaling.enabled (not (hasKey (default dict $w.resources.requests) "cpu")) -}}
{{- fail (printf "group %s: gateway.autoscaling goes by a share of gateway.resources.requests.cpu, which is needed" $g.name) -}}
{{- end -}}
{{- $ports := list (int $w.port) (int $v.admin.port) -}}
{{- if $w.http.enabled -}}{{- $ports = append $ports (int $w.http.port) -}}{{- end -}}
{{- if ne (len (uniq $ports)) (len $ports) -}}
{{- fail (printf "group %s: two of gateway.port, gateway.http.port and admin.port are the same" $g.name) -}}
{{- end -}}
{{- if and $v.apiKeys.existingSecret (not $w.servers.tokenSecret) -}}
{{- fail (printf "group %s: gateway.servers.tokenSecret is needed: the servers ask for keys (apiKeys)" $g.name) -}}
{{- end -}}
{{- if and $v.tls.clientAuth (not $w.servers.clientCertSecret) -}}
{{- fail (printf "group %s: gateway.servers.clientCertSecret is needed: the servers ask for certificates (tls.clientAuth)" $g.name) -}}
{{- end -}}
{{- if and (not $v.tls.enabled) (or $w.tls.secretName $w.servers.clientCertSecret $w.servers.tlsDomain) -}}
{{- fail (printf "group %s: gateway.tls and gateway.servers name certificates, and tls.enabled is false" $g.name) -}}
{{- end -}}
{{- end -}}

{{- define "sortie.checkRelease" -}}
{{- if and .Values.tls.enabled (not .Values.tls.secretName) -}}
{{- fail "tls.secretName is needed where tls.enabled is true" -}}
{{- end -}}
{{- if and .Values.tls.clientAuth (not .Values.tls.enabled) -}}
{{- fail "tls.clientAuth needs tls.enabled" -}}
{{- end -}}
{{- if and .Values.admin.models (not .Values.admin.keysSecret) -}}
{{- fail "admin.models needs admin.keysSecret: whoever reaches the port could change models" -}}
{{- end -}}
{{- if eq (int .Values.admin.port) (int .Values.containerPort) -}}
{{- fail "admin.port and containerPort are the same" -}}
{{- end -}}
{{- if and .Values.http.enabled (has (int .Values.http.port) (list (int .Values.admin.port) (int .Values.containerPort))) -}}
{{- fail "http.port is that of another port: admin.port or containerPort" -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.groups -}}
{{- if has .name $names -}}
{{- fail (printf "group %s is named twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- range $gateway := include "sortie.gateways" . | fromYamlArray -}}
{{- if has $gateway $names -}}
{{- fail (printf "group %s has the name of another group's gateway" $gateway) -}}
{{- end -}}
{{- end -}}
{{- end -}}
