package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// patience is how long a pod may stay as it is before the nurse looks after it.
const patience = 3 * time.Second

// nurse touches pods that kwok has overlooked, which happens now and then when the machine is busy: a pod that should
// run and is still Pending gets an annotation, so that kwok sees an update; one that should be gone is deleted.
func nurse(ctx context.Context, kubeconfig string) {
	rest, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return
	}
	since := map[types.UID]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Second):
		}
		pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			continue
		}
		since = round(ctx, client, pods.Items, since)
	}
}

// round looks at every pod once and returns since when each hanging one has been seen hanging.
func round(ctx context.Context, client kubernetes.Interface, pods []corev1.Pod, before map[types.UID]time.Time) map[types.UID]time.Time {
	now, after := time.Now(), map[types.UID]time.Time{}
	for i := range pods {
		pod := &pods[i]
		if !overlooked(pod) {
			continue
		}
		first, seen := before[pod.UID]
		if !seen {
			first = now
		}
		after[pod.UID] = first
		if now.Sub(first) < patience {
			continue
		}
		api := client.CoreV1().Pods(pod.Namespace)
		if pod.DeletionTimestamp != nil {
			var none int64
			_ = api.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &none})
			continue
		}
		touch := fmt.Sprintf(`{"metadata":{"annotations":{"testing.sluice.dev/touched":%q}}}`, now.Format(time.RFC3339))
		_, _ = api.Patch(ctx, pod.Name, types.MergePatchType, []byte(touch), metav1.PatchOptions{})
	}
	return after
}

// overlooked says whether kwok has still something to do for the pod. Pods with finalizers may wait for others.
func overlooked(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp != nil {
		return len(pod.Finalizers) == 0
	}
	return pod.Spec.NodeName != "" && pod.Status.Phase == corev1.PodPending && pod.Labels[behaviourLabel] == ""
}
