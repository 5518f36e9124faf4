{{- define "jadeseal.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "jadeseal.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "jadeseal.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{ include "jadeseal.selector" . }}
{{- end -}}

{{- define "jadeseal.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* What of `config` comes before its first table. */}}
{{- define "jadeseal.plain" -}}
{{- regexSplit "(?m)^\\s*\\[" .Values.config 2 | first -}}
{{- end -}}

{{/* What would come up and be wrong is refused here, with a word on why. */}}
{{- define "jadeseal.check" -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- fail (printf "replicas is %d: the embedded store is served by one process; a second would be refused by its lock or, on another volume, have other keys. Leave replicas at 1 (or 0 to stop)." (int .Values.replicas)) -}}
{{- end -}}
{{- if not .Values.rootOfTrust.existingSecret -}}
{{- fail "rootOfTrust.existingSecret is not set: make a Secret with the root of trust first (docs/deployment.md); the chart makes none, so that no release can lose it." -}}
{{- end -}}
{{- if not .Values.tls.existingSecret -}}
{{- fail "tls.existingSecret is not set: Jadeseal serves no plain HTTP beyond loopback; name a Secret of type kubernetes.io/tls." -}}
{{- end -}}
{{- $plain := include "jadeseal.plain" . -}}
{{- if or (regexMatch "(?m)^\\s*(listen|data_dir)\\s*=" $plain) (regexMatch "(?m)^\\s*(\\[\\s*(tls|root)\\s*\\]|\\[\\[\\s*region\\s*\\]\\])" .Values.config) -}}
{{- fail "config sets listen, data_dir, [tls], [root] or [[region]], which the chart sets: use tls, rootOfTrust and regions of the values." -}}
{{- end -}}
{{- end -}}
