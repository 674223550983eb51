{{/* The settings file of cutline-admin, in its own keys. Nothing secret is in it; what is left empty is not written. */}}

{{- define "cutline.settings" -}}
{{- $all := dict
      "listen" (printf "0.0.0.0:%d" (int .Values.admin.port))
      "deployment" .Values.deployment
      "kafka" (required "kafka.bootstrap is needed: some brokers, HOST:PORT with commas" .Values.kafka.bootstrap)
      "store" (include "cutline.store.address" .)
      "redis" .Values.redis.url
      "otlp-endpoint" .Values.otlpEndpoint
      "tokens" (ternary "/etc/cutline-tokens/tokens.json" "" (ne .Values.auth.existingSecret ""))
      "tls.certificate" (ternary "/etc/cutline-tls/tls.crt" "" (eq (include "cutline.tls.isOn" .Values) "true"))
      "tls.key" (ternary "/etc/cutline-tls/tls.key" "" (eq (include "cutline.tls.isOn" .Values) "true"))
      "tls.client-ca" (ternary "/etc/cutline-tls/ca.crt" "" .Values.tls.clientCertificates)
      "inject.listen" (ternary (printf "0.0.0.0:%d" (int .Values.inject.port)) "" .Values.inject.enabled)
      "inject.template" (ternary "/etc/cutline-inject/sidecar.yaml" "" .Values.inject.enabled)
      "unauthenticated" (ternary "yes" "" .Values.auth.unauthenticated)
      "signing-keys" (ternary "/etc/cutline-signing/signing.keys" "" (ne .Values.signing.existingSecret ""))
      "accept-unsigned-until" .Values.signing.acceptUnsignedUntil
      "checkpoint.interval" .Values.checkpoint.interval
      "checkpoint.min-pause" .Values.checkpoint.minPause
      "checkpoint.timeout" .Values.checkpoint.timeout
      "checkpoint.prepare-timeout" .Values.checkpoint.prepareTimeout
      "checkpoint.mode" .Values.checkpoint.mode
      "checkpoint.alignment-timeout" .Values.checkpoint.alignmentTimeout
      "checkpoint.record-timeout" .Values.checkpoint.recordTimeout
      "checkpoint.mark-timeout" .Values.checkpoint.markTimeout
      "checkpoint.retries" .Values.checkpoint.retries
      "checkpoint.backoff-max" .Values.checkpoint.backoffMax
      "checkpoint.jitter" .Values.checkpoint.jitter
      "checkpoint.blackout" .Values.checkpoint.blackout
      "checkpoint.tolerable-failures" .Values.checkpoint.tolerableFailures
      "checkpoint.objective" .Values.checkpoint.objective
      "checkpoint.channels" .Values.checkpoint.channels
      "retention.keep-last" .Values.retention.keepLast
      "retention.max-age" .Values.retention.maxAge
      "retention.warn-before" .Values.retention.warnBefore
      "retention.check-interval" .Values.retention.checkInterval
      "max-pause" .Values.maxPause
      "drain-timeout" .Values.drainTimeout
      "sidecar-lost-timeout" .Values.sidecarLostTimeout
      "control-stale-timeout" .Values.controlStaleTimeout -}}
{{- if not (or .Values.auth.existingSecret .Values.auth.unauthenticated) -}}
{{- fail "auth.existingSecret is needed: a Secret with the list of tokens (docs/operations.md, \"Who may do what\"); or say auth.unauthenticated=true, where everyone who reaches the admin API may do everything" -}}
{{- end -}}
{{- if and .Values.tls.clientCertificates (not (include "cutline.tls.isOn" .Values)) -}}
{{- fail "tls.clientCertificates needs TLS: tls.existingSecret, or tls.certManager.enabled=true" -}}
{{- end -}}
{{- range $name, $value := .Values.kafka.settings -}}
{{- $_ := set $all (printf "kafka.%s" $name) $value -}}
{{- end -}}
{{- range $key := keys $all | sortAlpha }}
{{- $value := get $all $key -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
{{- /* A number of a values file is a float, and prints as 1e+06. */}}
{{ $key }}: {{ ternary (printf "%v" ($value | int64)) ($value | toString) (and (kindIs "float64" $value) (eq (floor $value) $value)) | quote }}
{{- end }}
{{- end }}
{{- end -}}
