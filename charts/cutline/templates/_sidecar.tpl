{{/*
The sidecar beside an application, as a native sidecar: it stands among initContainers with restartPolicy Always, so that Kubernetes
starts the application only when it is ready, and ends it only after the application.

  spec:
    initContainers:
      {{- include "cutline.sidecar" (dict "root" $ "cutline" .Values.cutline "service" "bank-a"
            "state" (list "dir:/var/lib/bank/state?scope=service")
            "mounts" (list (dict "name" "bank" "mountPath" "/var/lib/bank"))) | nindent 6 }}
    volumes:
      {{- include "cutline.sidecar.volumes" (dict "root" $ "cutline" .Values.cutline) | nindent 6 }}

root: the scope of the calling chart. cutline: the values of this chart, `.Values.cutline` where it is a dependency.
service: the service's name, the same for all its instances. capture: commit, or hook=URL of the application on loopback.
state: a list, as --state takes them. stateSecret: {name, key} of a Secret instead, for addresses with a password.
mounts: where the application's volumes are, for `dir:`. instance: a name within the service; without, the pod's. Pods of a
StatefulSet keep theirs, which state by instance needs. rebuildable: topics whose readers can read them again from the start.
*/}}

{{- define "cutline.sidecar" -}}
{{- $values := .cutline | default .root.Values -}}
{{- $sidecar := $values.sidecar -}}
- name: cutline-sidecar
  image: {{ include "cutline.image" (dict "values" $values "name" $values.image.sidecar) }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  restartPolicy: Always
  env:
    {{- include "cutline.sidecar.environment" . | nindent 4 }}
  ports:
    - {name: cutline-metrics, containerPort: {{ $sidecar.metricsPort }}}
  # The application is started only when this has succeeded: it never meets a Kafka that is not there.
  startupProbe:
    httpGet: {path: /readyz, port: cutline-metrics}
    periodSeconds: 1
    failureThreshold: 120
  # No readiness probe: Kafka out of reach must not take the application's own endpoints away.
  livenessProbe:
    httpGet: {path: /healthz, port: cutline-metrics}
    periodSeconds: 10
    failureThreshold: 3
  resources: {{- toYaml $sidecar.resources | nindent 4 }}
  securityContext:
    {{- include "cutline.container.security" . | nindent 4 }}
    runAsUser: {{ int $sidecar.runAsUser }}
    runAsGroup: {{ int $sidecar.runAsGroup }}
  volumeMounts:
    - {name: cutline-tmp, mountPath: /tmp}
    {{- if $values.auth.clientSecret }}
    - {name: cutline-token, mountPath: /etc/cutline-token, readOnly: true}
    {{- end }}
    {{- with include "cutline.tls.mount" (dict "root" .root "values" $values) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "cutline.kafka.mount" (dict "secret" $values.kafka.security.sidecarSecret) | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if eq $values.store.type "file" }}
    {{- include "cutline.store.mount" . | nindent 4 }}
    {{- end }}
    {{- with .mounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "cutline.sidecar.environment" -}}
{{- $values := .cutline | default .root.Values -}}
{{- $sidecar := $values.sidecar -}}
- {name: CUTLINE_SERVICE, value: {{ required "cutline.sidecar: service is needed" .service | quote }}}
- name: CUTLINE_INSTANCE
  {{- with .instance }}
  value: {{ . | quote }}
  {{- else }}
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
  {{- end }}
- {name: CUTLINE_DEPLOYMENT, value: {{ $values.deployment | quote }}}
- {name: CUTLINE_KAFKA, value: {{ required "kafka.bootstrap is needed: some brokers, HOST:PORT with commas" $values.kafka.bootstrap | quote }}}
{{- include "cutline.kafka.environment" (dict "values" $values "secret" $values.kafka.security.sidecarSecret) }}
{{- if eq $values.kafka.security.appSasl "sidecar" }}
- {name: CUTLINE_APP_SASL, value: sidecar}
{{- end }}
- {name: CUTLINE_LISTEN, value: "127.0.0.1:{{ $sidecar.port }}"}
- {name: CUTLINE_METRICS, value: "0.0.0.0:{{ $sidecar.metricsPort }}"}
# The kubelet and Prometheus ask from outside the pod; a NetworkPolicy of the application's says who else may.
- {name: CUTLINE_METRICS_UNAUTHENTICATED, value: "yes"}
- {name: CUTLINE_ADMIN, value: {{ include "cutline.sidecar.admin" . | quote }}}
- {name: CUTLINE_CAPTURE, value: {{ .capture | default "commit" | quote }}}
- {name: CUTLINE_LOG, value: {{ $values.log | quote }}}
{{- if $values.auth.clientSecret }}
- {name: CUTLINE_TOKEN_FILE, value: /etc/cutline-token/token}
{{- end }}
{{- with include "cutline.tls.environment" (dict "root" .root "values" $values) | trim }}
{{ . }}
{{- end }}
{{- with $values.otlpEndpoint }}
- {name: CUTLINE_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- with $values.controlStaleTimeout }}
- {name: CUTLINE_CONTROL_STALE_TIMEOUT, value: {{ . | quote }}}
{{- end }}
{{- if and .state .stateSecret }}
{{- fail "cutline.sidecar: state or stateSecret, not both" }}
{{- end }}
{{- with .state }}
{{- range . }}
{{- if regexMatch "\\s" . }}
{{- fail (printf "cutline.sidecar: the state %q has a blank, which separates states in a variable" .) }}
{{- end }}
{{- end }}
- {name: CUTLINE_STATE, value: {{ join " " . | quote }}}
{{- end }}
{{- with .stateSecret }}
- name: CUTLINE_STATE
  valueFrom:
    secretKeyRef: {name: {{ .name }}, key: {{ .key }}}
{{- end }}
{{- with .rebuildable }}
- {name: CUTLINE_REBUILDABLE, value: {{ join "," . | quote }}}
{{- end }}
{{- include "cutline.store.environment" $values }}
{{- end -}}

{{/* Where the admin API is. */}}
{{- define "cutline.sidecar.admin" -}}
{{- $values := .cutline | default .root.Values -}}
{{- if $values.sidecar.adminUrl -}}
{{- $values.sidecar.adminUrl -}}
{{- else if $values.admin.enabled -}}
{{ ternary "https" "http" (eq (include "cutline.tls.isOn" $values) "true") }}://{{ include "cutline.fullname" .root }}.{{ .root.Release.Namespace }}.svc:{{ int $values.admin.port }}
{{- else -}}
{{- fail "sidecar.adminUrl is needed where admin.enabled is false" -}}
{{- end -}}
{{- end -}}

{{/* What the application uses as bootstrap.servers. */}}
{{- define "cutline.sidecar.bootstrap" -}}
{{- $values := .cutline | default .root.Values -}}
127.0.0.1:{{ int $values.sidecar.port }}
{{- end -}}

{{/* The volumes that the sidecar mounts, besides the application's own. */}}
{{- define "cutline.sidecar.volumes" -}}
{{- $values := .cutline | default .root.Values -}}
- name: cutline-tmp
  emptyDir: {}
{{- with $values.auth.clientSecret }}
- name: cutline-token
  secret:
    secretName: {{ . }}
    items: [{key: {{ $values.auth.sidecarKey }}, path: token}]
{{- end }}
{{- with include "cutline.tls.volume" (dict "root" .root "values" $values) | trim }}
{{ . }}
{{- end }}
{{- include "cutline.kafka.volume" (dict "secret" $values.kafka.security.sidecarSecret) }}
{{- if eq $values.store.type "file" }}
{{ include "cutline.store.volume" (dict "claim" (include "cutline.claim" (dict "root" .root "values" $values))) }}
{{- end }}
{{- end -}}

{{/* The label that lets the pod reach the admin API. */}}
{{- define "cutline.sidecar.labels" -}}
cutline.dev/client: "true"
{{- end -}}
