{{/* Names, labels, and the merged settings of one group. */}}
{{- define "sortie.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sortie.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "sortie.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels that select a group's pods: (dict "root" $ "group" name). */}}
{{- define "sortie.selector" -}}
app.kubernetes.io/name: {{ include "sortie.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .group }}
{{- end -}}

{{- define "sortie.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "sortie.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "sortie.labels" -}}
{{ include "sortie.commonLabels" .root }}
app.kubernetes.io/component: {{ .group }}
{{- end -}}

{{- define "sortie.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sortie.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The values of one group: what the group says over what the top says. Use with fromYaml. */}}
{{- define "sortie.group" -}}
{{- $top := omit (deepCopy .root.Values) "groups" -}}
{{- toYaml (mergeOverwrite $top (deepCopy .group)) -}}
{{- end -}}

{{- define "sortie.image" -}}
{{- $variant := ternary "cuda" "cpu" (gt (int .g.gpu.count) 0) -}}
{{- if .g.image.digest -}}
{{ .g.image.repository }}@{{ .g.image.digest }}
{{- else -}}
{{ .g.image.repository }}:{{ .g.image.tag | default (printf "%s-%s" .root.Chart.AppVersion $variant) }}
{{- end -}}
{{- end -}}

{{/* Component labels of the gateways there are; none is "[]". */}}
{{- define "sortie.gateways" -}}
{{- $names := list -}}
{{- range .Values.groups -}}
{{- $g := fromYaml (include "sortie.group" (dict "root" $ "group" .)) -}}
{{- if $g.gateway.enabled -}}{{- $names = append $names (printf "%s-gateway" $g.name) -}}{{- end -}}
{{- end -}}
{{- toYaml $names -}}
{{- end -}}

{{- define "sortie.gatewayImage" -}}
{{- $image := .g.gateway.image -}}
{{- $repository := default .g.image.repository $image.repository -}}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ $image.tag | default (printf "%s-gateway" .root.Chart.AppVersion) }}
{{- end -}}
{{- end -}}

{{/* Matchers of a group's series, as the ServiceMonitor labels them. */}}
{{- define "sortie.matchers" -}}
{{- if .g.keda.matchers -}}
{{ .g.keda.matchers }}
{{- else -}}
namespace="{{ .root.Release.Namespace }}",release="{{ .root.Release.Name }}",group="{{ .g.name }}"
{{- end -}}
{{- end -}}
