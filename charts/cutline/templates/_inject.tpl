{{/*
What the admin API puts into pods: the sidecar as "cutline.sidecar" makes it for every chart, with what one pod says of itself left
open. The service's name here is replaced in each pod.
*/}}
{{- define "cutline.inject.template" -}}
{{- $sidecar := dict "root" . "cutline" .Values "service" "named-by-the-pod" -}}
container:
  {{- include "cutline.sidecar" $sidecar | fromYamlArray | first | toYaml | nindent 2 }}
volumes:
  {{- include "cutline.sidecar.volumes" $sidecar | fromYamlArray | toYaml | nindent 2 }}
labels:
  {{- include "cutline.sidecar.labels" . | nindent 2 }}
bootstrap: {{ include "cutline.sidecar.bootstrap" $sidecar }}
{{- end -}}
