{{- define "anonymizer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* 52: a pod's name with its ordinal, as a label, has at most 63. */}}
{{- define "anonymizer.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "anonymizer.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "anonymizer.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* These may not change in the life of a StatefulSet. */}}
{{- define "anonymizer.selector" -}}
app.kubernetes.io/name: anonymizer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "anonymizer.labels" -}}
{{ include "anonymizer.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{- define "anonymizer.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "anonymizer.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* The file of settings: the operator's, and what only the chart knows. */}}
{{- define "anonymizer.config" -}}
{{- $ours := dict "data_dir" "/var/lib/anonymizer/queue" }}
{{- with .Values.secret.clickhousePassword }}
{{- $_ := set $ours "clickhouse_password_file" (printf "/etc/anonymizer/secret/%s" .) }}
{{- end }}
{{- $otherwise := dict "http_listen" "0.0.0.0:9464" "log_format" "json" }}
{{- merge $ours (deepCopy .Values.config) $otherwise | toPrettyJson }}
{{- end }}

{{/* How the pages are served. */}}
{{- define "anonymizer.scheme" -}}
{{- ternary "https" "http" (hasKey .Values.config "http_certificate_file") }}
{{- end }}

{{/* The ports in a list of brokers and two URLs. */}}
{{- define "anonymizer.ports" -}}
{{- $ports := list 53 }}
{{- range splitList "," .Values.config.kafka_brokers }}
{{- $ports = append $ports (regexFind ":[0-9]+$" (trim .) | trimPrefix ":" | default "9092" | int) }}
{{- end }}
{{- $endpoint := dig "kafka_properties" "sasl.oauthbearer.token.endpoint.url" "" .Values.config }}
{{- range compact (list .Values.config.clickhouse_url $endpoint) }}
{{- $url := urlParse . }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- $ports = append $ports (default (ternary "443" "80" (eq $url.scheme "https")) $port | int) }}
{{- end }}
{{- range .Values.networkPolicy.ports }}
{{- $ports = append $ports (int .) }}
{{- end }}
{{- without ($ports | uniq) 53 | toJson }}
{{- end }}
