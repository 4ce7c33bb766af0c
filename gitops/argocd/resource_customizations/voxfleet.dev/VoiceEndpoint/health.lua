-- Generated from crds/voxfleet_api by `make generate`; do not edit.
-- What Argo CD shows of an object of VoxFleet: the conventions of kstatus, as Flux reads them.
-- Healthy means accepted, not done: a sync never waits for a night's work, nor for a Mac. Suspended is never returned,
-- since a sync with waves would wait until somebody resumes the job. A job that is a hook is waited for; Argo CD takes
-- hooks of Helm for its own.
-- Needs no open libraries.

local function condition(wanted)
  if obj.status == nil or obj.status.conditions == nil then
    return nil
  end
  for _, item in ipairs(obj.status.conditions) do
    if item.type == wanted then
      return item
    end
  end
  return nil
end

local function is_true(wanted)
  local item = condition(wanted)
  return item ~= nil and item.status == "True"
end

local function health(status, item)
  if item == nil then
    return {status = status, message = ""}
  end
  return {status = status, message = item.reason .. ": " .. (item.message or "")}
end

local function headline()
  for _, wanted in ipairs({"Failed", "Suspended", "Halted"}) do
    if is_true(wanted) then
      return condition(wanted)
    end
  end
  for _, wanted in ipairs({"Complete", "Committed", "Available", "Ready", "Accepted"}) do
    local item = condition(wanted)
    if item ~= nil then
      return item
    end
  end
  return nil
end

local function is_hook()
  local annotations = obj.metadata.annotations
  return annotations ~= nil and (annotations["argocd.argoproj.io/hook"] or annotations["helm.sh/hook"]) ~= nil
end

if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "The operator has not seen this version yet"}
end
if is_true("Reconciling") then
  return health("Progressing", condition("Reconciling"))
end
if is_true("Stalled") then
  return health("Degraded", condition("Stalled"))
end
if condition("Ready") ~= nil and not is_true("Ready") then
  return health("Progressing", condition("Ready"))
end
if is_hook() and condition("Complete") ~= nil and not is_true("Complete") then
  return health("Progressing", headline())
end
return health("Healthy", headline())
