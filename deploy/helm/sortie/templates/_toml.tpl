{{/* Configuration files. JSON's strings, numbers, booleans and lists of them are TOML's too. */}}

{{/* What servers and gateways have in common: (dict "root" $ "port" grpc "http" {enabled, port} "keys" entry "clientAuth" bool "drain" settings). */}}
{{- define "sortie.frontendToml" -}}
{{- $v := .root.Values -}}
listen = {{ printf "%s:%d" $v.listenHost (int .port) | toJson }}
{{- if .http.enabled }}
http = {{ printf "%s:%d" $v.listenHost (int .http.port) | toJson }}
{{- end }}
admin = {{ printf "%s:%d" $v.listenHost (int $v.admin.port) | toJson }}
{{- with .keys }}
api_keys = {{ printf "/etc/sortie/keys/%s" . | toJson }}
{{- end }}
{{- if $v.tls.enabled }}
tls_cert = "/etc/sortie/tls/tls.crt"
tls_key = "/etc/sortie/tls/tls.key"
{{- if .clientAuth }}
tls_client_ca = "/etc/sortie/tls/ca.crt"
{{- end }}
{{- end }}
{{- if $v.otlpEndpoint }}
otlp_endpoint = {{ $v.otlpEndpoint | toJson }}
{{- end }}
drain_grace = "{{ int .drain.graceSeconds }}s"
drain_timeout = "{{ int .drain.longestDeadlineSeconds }}s"
{{- end -}}

{{- define "sortie.toml" -}}
{{- $v := .root.Values -}}
{{- $keys := ternary $v.apiKeys.key "" (not (empty $v.apiKeys.existingSecret)) -}}
{{- include "sortie.frontendToml" (dict "root" .root "port" $v.containerPort "http" $v.http "keys" $keys "clientAuth" $v.tls.clientAuth "drain" .g.drain) }}
{{- if $v.admin.models }}
admin_models = true
admin_keys = "/etc/sortie/admin/keys"
{{- end }}
device = {{ ternary "cuda:all" "cpu" (gt (int .g.gpu.count) 0) | toJson }}
{{- range $name, $value := .g.config }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{- range .g.models }}

[[model]]
name = {{ toJson .name }}
path = {{ toJson .source }}
{{- with .maxLength }}
max_length = {{ int . }}
{{- end }}
{{- with .pooling }}
pooling = {{ toJson . }}
{{- end }}
{{- if .preferOnnx }}
prefer_onnx = true
{{- end }}
{{- with .onnxFile }}
onnx_file = {{ toJson . }}
{{- end }}
{{- end }}
{{- end -}}
