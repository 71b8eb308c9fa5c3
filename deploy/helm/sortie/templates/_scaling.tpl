{{/* Up at once, down slowly: a model takes its time to load, and idle servers are cheap beside late answers. */}}
{{- define "sortie.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - type: Percent
      value: 100
      periodSeconds: 30
scaleDown:
  stabilizationWindowSeconds: 300
  policies:
    - type: Percent
      value: 25
      periodSeconds: 60
{{- end -}}
