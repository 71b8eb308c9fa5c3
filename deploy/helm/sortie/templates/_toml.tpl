{{/* The server's configuration file. JSON's strings, numbers and booleans are TOML's too. */}}
{{- define "sortie.toml" -}}
{{- $v := .root.Values -}}
listen = {{ printf "%s:%d" $v.listenHost (int $v.containerPort) | toJson }}
admin = {{ printf "%s:%d" $v.listenHost (int $v.admin.port) | toJson }}
{{- if $v.admin.models }}
admin_models = true
admin_keys = "/etc/sortie/admin/keys"
{{- end }}
{{- if $v.apiKeys.existingSecret }}
api_keys = {{ printf "/etc/sortie/keys/%s" $v.apiKeys.key | toJson }}
{{- end }}
{{- if $v.tls.enabled }}
tls_cert = "/etc/sortie/tls/tls.crt"
tls_key = "/etc/sortie/tls/tls.key"
{{- if $v.tls.clientAuth }}
tls_client_ca = "/etc/sortie/tls/ca.crt"
{{- end }}
{{- end }}
{{- if $v.otlpEndpoint }}
otlp_endpoint = {{ $v.otlpEndpoint | toJson }}
{{- end }}
device = {{ ternary "cuda:all" "cpu" (gt (int .g.gpu.count) 0) | toJson }}
drain_grace = "{{ int .g.drain.graceSeconds }}s"
drain_timeout = "{{ int .g.drain.longestDeadlineSeconds }}s"
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
