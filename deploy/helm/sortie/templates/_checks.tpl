{{/* What a schema cannot say. Each failure names the value and what to do. */}}
{{- define "sortie.checkGroup" -}}
{{- $g := .g -}}
{{- $need := add (int $g.drain.preStopSeconds) (int $g.drain.graceSeconds) (int $g.drain.longestDeadlineSeconds) (int $g.drain.marginSeconds) -}}
{{- if gt (int $need) (int $g.terminationGracePeriodSeconds) -}}
{{- fail (printf "group %s: drain needs %d s (preStopSeconds + graceSeconds + longestDeadlineSeconds + marginSeconds), terminationGracePeriodSeconds is %d: requests would be cut" $g.name (int $need) (int $g.terminationGracePeriodSeconds)) -}}
{{- end -}}
{{- if and (gt (int $g.drain.preStopSeconds) 0) (semverCompare "<1.29.0-0" .root.Capabilities.KubeVersion.Version) -}}
{{- fail (printf "group %s: drain.preStopSeconds needs Kubernetes 1.29; use drain.graceSeconds, which the server waits by itself" $g.name) -}}
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
{{- $names := list -}}
{{- range .Values.groups -}}
{{- if has .name $names -}}
{{- fail (printf "group %s is named twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
