package objects

import corev1 "k8s.io/api/core/v1"

// references gives what a pod names, each once, in no particular order.
func references(pod *corev1.Pod) []key {
	seen := map[key]bool{}
	var keys []key
	add := func(kind kind, name string) {
		k := key{kind, pod.Namespace, name}
		if name != "" && !seen[k] {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	container := func(c *corev1.Container) {
		for _, from := range c.EnvFrom {
			if from.ConfigMapRef != nil {
				add(configMap, from.ConfigMapRef.Name)
			}
			if from.SecretRef != nil {
				add(secret, from.SecretRef.Name)
			}
		}
		for _, v := range c.Env {
			if v.ValueFrom == nil {
				continue
			}
			if v.ValueFrom.ConfigMapKeyRef != nil {
				add(configMap, v.ValueFrom.ConfigMapKeyRef.Name)
			}
			if v.ValueFrom.SecretKeyRef != nil {
				add(secret, v.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		add(secret, s.Name)
	}
	for i := range pod.Spec.InitContainers {
		container(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		container(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.EphemeralContainers {
		container((*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	for _, v := range pod.Spec.Volumes {
		if v.ConfigMap != nil {
			add(configMap, v.ConfigMap.Name)
		}
		if v.Secret != nil {
			add(secret, v.Secret.SecretName)
		}
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ConfigMap != nil {
				add(configMap, s.ConfigMap.Name)
			}
			if s.Secret != nil {
				add(secret, s.Secret.Name)
			}
		}
	}
	return keys
}
