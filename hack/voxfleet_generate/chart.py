"""Generates the kinds' templates in the Helm chart: the very CRDs of crds/, behind the chart's switches."""

from __future__ import annotations

from voxfleet_api.kinds import Resource
from voxfleet_generate.crds import NOTE, crd, crd_file_name, yaml_text

FOLDER = "charts/voxfleet/templates/crds"
_METADATA = """\
metadata:
  name: {name}
  labels:
    {{{{- include "voxfleet.labels" . | nindent 4 }}}}
  {{{{- if .Values.crds.keep }}}}
  annotations:
    helm.sh/resource-policy: keep
  {{{{- end }}}}
"""


def crd_template_path(kind: type[Resource]) -> str:
    return f"{FOLDER}/{crd_file_name(kind)}"


def crd_template(kind: type[Resource]) -> str:
    """Returns the kind's CRD as a template of the chart. Raises NotStructural."""
    document = crd(kind)
    head = yaml_text({key: document[key] for key in ("apiVersion", "kind")})
    spec = yaml_text({"spec": document["spec"]})
    spec = spec.replace("{{", '{{ "{{" }}')  # a description may have it; it is not Helm's
    metadata = _METADATA.format(name=document["metadata"]["name"])
    return f"{{{{- /* {NOTE} */ -}}}}\n{{{{- if .Values.crds.enabled }}}}\n{head}{metadata}{spec}{{{{- end }}}}\n"
