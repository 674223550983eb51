{{/* TLS of the control plane: which Secrets, where they are mounted, and what programs are told of them. */}}

{{/* The Secret of the admin API; nothing where TLS is off. */}}
{{- define "cutline.tls.secret" -}}
{{- if .Values.tls.certManager.enabled -}}
{{- printf "%s-tls" (include "cutline.fullname" .) -}}
{{- else -}}
{{- .Values.tls.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* The Secret of clients; nothing where none is needed. Takes root and values. */}}
{{- define "cutline.tls.clientSecret" -}}
{{- if .values.tls.clientSecret -}}
{{- .values.tls.clientSecret -}}
{{- else if and .values.admin.enabled .values.tls.certManager.enabled -}}
{{- printf "%s-client-tls" (include "cutline.fullname" .root) -}}
{{- end -}}
{{- end -}}

{{/* True where the admin API of this release speaks TLS. */}}
{{- define "cutline.tls.isOn" -}}
{{- if or .tls.existingSecret .tls.certManager.enabled }}true{{ end -}}
{{- end -}}

{{/* What a client is told, below `env:`. Takes root and values. */}}
{{- define "cutline.tls.environment" -}}
{{- if include "cutline.tls.clientSecret" . }}
- {name: CUTLINE_TLS_CA, value: /etc/cutline-tls/ca.crt}
{{- if .values.tls.clientCertificates }}
- {name: CUTLINE_TLS_CERTIFICATE, value: /etc/cutline-tls/tls.crt}
- {name: CUTLINE_TLS_KEY, value: /etc/cutline-tls/tls.key}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where a client finds it, below `volumeMounts:`. Takes root and values. */}}
{{- define "cutline.tls.mount" -}}
{{- if include "cutline.tls.clientSecret" . }}
- {name: cutline-tls, mountPath: /etc/cutline-tls, readOnly: true}
{{- end }}
{{- end -}}

{{/* The volume of that, below `volumes:`. Takes root and values. */}}
{{- define "cutline.tls.volume" -}}
{{- with include "cutline.tls.clientSecret" . }}
- name: cutline-tls
  secret: {secretName: {{ . }}}
{{- end }}
{{- end -}}
