{{- /* A Service's name has 63 characters at most, and that of the metrics ends in -metrics. */ -}}
{{- define "voxfleet.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "voxfleet.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "voxfleet.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "voxfleet.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "voxfleet.labels" -}}
{{ include "voxfleet.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: voxfleet
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "voxfleet.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* The subject of every binding of the operator. */ -}}
{{- define "voxfleet.subjects" -}}
- kind: ServiceAccount
  name: {{ include "voxfleet.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* The gateway's pods have a name of their own: no selector of the operator's finds them. */ -}}
{{- define "voxfleet.gatewayName" -}}
{{ include "voxfleet.fullname" . | trunc 55 | trimSuffix "-" }}-gateway
{{- end -}}

{{- define "voxfleet.gatewaySelectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "voxfleet.gatewayLabels" -}}
{{ include "voxfleet.gatewaySelectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: gateway
app.kubernetes.io/part-of: voxfleet
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "voxfleet.gatewaySubjects" -}}
- kind: ServiceAccount
  name: {{ include "voxfleet.gatewayName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /* Where clients call endpoints; empty: nowhere. */ -}}
{{- define "voxfleet.gatewayUrl" -}}
{{- if .Values.gateway.url -}}
{{- .Values.gateway.url -}}
{{- else if .Values.gateway.enabled -}}
http://{{ include "voxfleet.gatewayName" . }}.{{ .Release.Namespace }}.svc
{{- end -}}
{{- end -}}
