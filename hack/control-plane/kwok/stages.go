package main

import (
	"fmt"
	"io"

	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/yaml"
)

// behaviourLabel on a pod chooses what happens to it: `hang` leaves it Pending for good, `fail` makes its containers
// crash (and the pods of Jobs fail). Without the label a pod is Ready, or Succeeded, as fast as kwok can.
// Taking the label off a hanging pod lets it become Ready.
const behaviourLabel = "testing.sluice.dev/pods"

// unlabelled keeps a stage away from pods that have a behaviour of their own.
var unlabelled = map[string]any{
	"key":      fmt.Sprintf(".metadata.labels[%q]", behaviourLabel),
	"operator": "NotIn",
	"values":   []any{"hang", "fail"},
}

const failStages = `
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: pod-crash
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: DoesNotExist}
    - {key: '.metadata.labels["testing.sluice.dev/pods"]', operator: In, values: [fail]}
    - {key: '.metadata.ownerReferences.[].kind', operator: NotIn, values: [Job]}
    - {key: '.status.containerStatuses.[].state.waiting.reason', operator: DoesNotExist}
  next:
    statusTemplate: |
      {{ $now := Now }}
      conditions:
      - {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
      - {type: Ready, status: "False", reason: ContainersNotReady, lastTransitionTime: {{ $now | Quote }}}
      - {type: ContainersReady, status: "False", reason: ContainersNotReady, lastTransitionTime: {{ $now | Quote }}}
      containerStatuses:
      {{ range .spec.containers }}
      - image: {{ .image | Quote }}
        name: {{ .name | Quote }}
        ready: false
        started: false
        restartCount: 3
        state: {waiting: {reason: CrashLoopBackOff, message: "back-off restarting failed container"}}
      {{ end }}
      phase: Running
      startTime: {{ $now | Quote }}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata:
  name: pod-fail
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: '.metadata.deletionTimestamp', operator: DoesNotExist}
    - {key: '.metadata.labels["testing.sluice.dev/pods"]', operator: In, values: [fail]}
    - {key: '.metadata.ownerReferences.[].kind', operator: In, values: [Job]}
    - {key: '.status.phase', operator: In, values: [Pending]}
  next:
    statusTemplate: |
      {{ $now := Now }}
      containerStatuses:
      {{ range .spec.containers }}
      - image: {{ .image | Quote }}
        name: {{ .name | Quote }}
        ready: false
        started: false
        restartCount: 0
        state: {terminated: {exitCode: 1, reason: Error, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}
      {{ end }}
      phase: Failed
      startTime: {{ $now | Quote }}
`

// printStages writes kwok's fast stages for nodes and pods, those that make pods ready or complete restricted to pods
// without a behaviour label, followed by the stages of our own.
func printStages(out io.Writer) error {
	ready, err := restrict(podfast.DefaultPodReady)
	if err != nil {
		return err
	}
	complete, err := restrict(podfast.DefaultPodComplete)
	if err != nil {
		return err
	}
	for _, stage := range []string{nodefast.DefaultNodeInit, ready, complete, podfast.DefaultPodDelete, failStages} {
		if _, err := fmt.Fprintf(out, "---\n%s\n", stage); err != nil {
			return err
		}
	}
	return nil
}

// restrict adds the condition to the stage's selector.
func restrict(stage string) (string, error) {
	var object struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       map[string]any `json:"spec"`
	}
	if err := yaml.UnmarshalStrict([]byte(stage), &object); err != nil {
		return "", err
	}
	selector, ok := object.Spec["selector"].(map[string]any)
	if !ok {
		return "", fmt.Errorf("stage %v has no selector", object.Metadata["name"])
	}
	expressions, ok := selector["matchExpressions"].([]any)
	if !ok {
		return "", fmt.Errorf("stage %v has no expressions in its selector", object.Metadata["name"])
	}
	selector["matchExpressions"] = append(expressions, unlabelled)
	text, err := yaml.Marshal(object)
	return string(text), err
}
