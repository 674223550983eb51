{{/*
How brokers are reached: variables, and files of a Secret, for whoever connects to them.

Each takes a dict: values, the values of this chart; secret, the name of the Secret of the admin API or of sidecars.
*/}}

{{- define "cutline.kafka.environment" -}}
{{- $security := .values.kafka.security -}}
{{- $protocol := lower $security.protocol -}}
{{- if and $protocol (ne $protocol "plaintext") }}
{{- if and (not .secret) (or (hasPrefix "sasl" $protocol) $security.caKey $security.certificateKey) }}
{{- fail "kafka.security: adminSecret and sidecarSecret are needed, for what is shown to brokers and for the authorities they are believed by" }}
{{- end }}
- {name: CUTLINE_KAFKA_SECURITY_PROTOCOL, value: {{ $protocol | quote }}}
{{- if hasSuffix "ssl" $protocol }}
{{- with $security.caKey }}
- {name: CUTLINE_KAFKA_SSL_CA_LOCATION, value: "/etc/cutline-kafka/{{ . }}"}
{{- end }}
{{- with $security.certificateKey }}
- {name: CUTLINE_KAFKA_SSL_CERTIFICATE_LOCATION, value: "/etc/cutline-kafka/{{ . }}"}
- {name: CUTLINE_KAFKA_SSL_KEY_LOCATION, value: "/etc/cutline-kafka/{{ $security.privateKeyKey }}"}
{{- end }}
{{- end }}
{{- if hasPrefix "sasl" $protocol }}
- {name: CUTLINE_KAFKA_SASL_MECHANISMS, value: {{ required "kafka.security.mechanism is needed with SASL" $security.mechanism | quote }}}
{{- if eq $security.mechanism "OAUTHBEARER" }}
- {name: CUTLINE_KAFKA_SASL_OAUTHBEARER_TOKEN_FILE, value: "/etc/cutline-kafka/{{ $security.tokenKey }}"}
{{- else }}
- name: CUTLINE_KAFKA_SASL_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ .secret }}, key: {{ $security.usernameKey }}}
- {name: CUTLINE_KAFKA_SASL_PASSWORD_FILE, value: "/etc/cutline-kafka/{{ $security.passwordKey }}"}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "cutline.kafka.mount" -}}
{{- if .secret }}
- {name: cutline-kafka, mountPath: /etc/cutline-kafka, readOnly: true}
{{- end }}
{{- end -}}

{{- define "cutline.kafka.volume" -}}
{{- with .secret }}
- name: cutline-kafka
  secret: {secretName: {{ . }}}
{{- end }}
{{- end -}}
