{{/* The store: its address, its volume, its credentials. */}}

{{- define "cutline.store.path" -}}/var/lib/cutline{{- end -}}

{{- define "cutline.store.address" -}}
{{- $s3 := .Values.store.s3 -}}
{{- if eq .Values.store.type "file" -}}
file:{{ include "cutline.store.path" . }}/store
{{- else -}}
{{- $options := list -}}
{{- with $s3.endpoint }}{{ $options = append $options (printf "endpoint=%s" .) }}{{ end -}}
{{- with $s3.region }}{{ $options = append $options (printf "region=%s" .) }}{{ end -}}
{{- if $s3.pathStyle }}{{ $options = append $options "path_style=true" }}{{ end -}}
{{- with $s3.sse }}{{ $options = append $options (printf "sse=%s" .) }}{{ end -}}
{{- with $s3.kmsKey }}{{ $options = append $options (printf "kms_key=%s" .) }}{{ end -}}
s3://{{ $s3.bucket }}{{ with $s3.prefix }}/{{ trimAll "/" . }}{{ end }}{{ with $options }}?{{ join "&" . }}{{ end }}
{{- end -}}
{{- end -}}

{{/* The claim of a store of files. Takes the calling scope as root and the values of this chart. */}}
{{- define "cutline.claim" -}}
{{- if .values.store.file.existingClaim -}}
{{- .values.store.file.existingClaim -}}
{{- else if .values.admin.enabled -}}
{{- include "cutline.fullname" .root }}-store
{{- else -}}
{{- fail "store.file.existingClaim is needed where admin.enabled is false: the claim of the release with the admin API" -}}
{{- end -}}
{{- end -}}

{{/* Credentials as variables, from a Secret. Takes the values of this chart. */}}
{{- define "cutline.store.environment" -}}
{{- $s3 := .store.s3 -}}
{{- if and (eq .store.type "s3") $s3.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ $s3.existingSecret }}, key: {{ $s3.accessKeyIdKey }}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ $s3.existingSecret }}, key: {{ $s3.secretAccessKeyKey }}}
{{- end }}
{{- end -}}

{{- define "cutline.store.volume" -}}
- name: cutline-store
  persistentVolumeClaim: {claimName: {{ .claim }}}
{{- end -}}

{{- define "cutline.store.mount" -}}
- {name: cutline-store, mountPath: {{ include "cutline.store.path" . }}}
{{- end -}}

{{/* What a container may do: nothing beyond its own work. */}}
{{- define "cutline.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}
