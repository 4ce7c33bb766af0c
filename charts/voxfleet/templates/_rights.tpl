{{- /*
What the operator may do. Nothing here is wider than what it does: tests/e2e/test_rights.py compares these rules with
the audit log of a fleet's life, and takes each of them away.
*/ -}}

{{- /* In each namespace with jobs, or in all. */ -}}
{{- define "voxfleet.jobRights" -}}
- apiGroups: [voxfleet.dev]
  resources: [voicecontracts, audiobatchjobs, audiobatchschedules, audioshards, voiceendpoints]
  verbs: [get, list, watch]
- apiGroups: [voxfleet.dev]
  resources: [voicecontracts/status, audiobatchjobs/status, audiobatchschedules/status, audioshards/status, voiceendpoints/status]
  verbs: [patch]
- apiGroups: [voxfleet.dev] # finalizers
  resources: [voiceendpoints]
  verbs: [patch]
- apiGroups: [voxfleet.dev] # finalizers; jobs of schedules are made, cancelled and cleared up
  resources: [audiobatchjobs]
  verbs: [create, delete, patch]
- apiGroups: [voxfleet.dev]
  resources: [audioshards]
  verbs: [create, delete]
{{ include "voxfleet.eventRights" . }}
{{- end -}}

{{- define "voxfleet.eventRights" -}}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- /* Over what belongs to no namespace. */ -}}
{{- define "voxfleet.fleetRights" -}}
- apiGroups: [voxfleet.dev]
  resources: [macagents, machinehourstatements]
  verbs: [get, list, watch]
- apiGroups: [voxfleet.dev]
  resources: [macagents/status, machinehourstatements/status]
  verbs: [patch]
- apiGroups: [voxfleet.dev]
  resources: [machinehourstatements]
  verbs: [create]
- apiGroups: [""] # their labels, which MacAgent.spec.access selects by
  resources: [namespaces]
  verbs: [list, watch]
- apiGroups: [""] # its UID names this control plane
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
{{- end -}}

{{- /* In the release's namespace. */ -}}
{{- define "voxfleet.ownRights" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [voxfleet-operator]
  verbs: [get, update]
{{- if .Values.fleetSecrets.all }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- else if .Values.fleetSecrets.names }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ toJson .Values.fleetSecrets.names }}
  verbs: [get]
{{- end }}
{{- end -}}

{{- /*
What the gateway may do: it reads, and asks whose tokens it was shown. It writes nothing, and no Secret with an agent's
own token is its business. tests/cluster/gateway compares these rules with the audit log, and takes each of them away.
*/ -}}
{{- define "voxfleet.gatewayRights" -}}
- apiGroups: [voxfleet.dev]
  resources: [macagents]
  verbs: [list, watch]
- apiGroups: [""] # its UID names this control plane
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
- apiGroups: [authentication.k8s.io] # whose token a client shows
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io] # whether that account may use an endpoint
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end -}}

{{- /* In each namespace with endpoints, or in all. */ -}}
{{- define "voxfleet.gatewayEndpointRights" -}}
- apiGroups: [voxfleet.dev]
  resources: [voiceendpoints]
  verbs: [list, watch]
{{- end -}}
