//! The manifests that several inputs are made of.

/// A Deployment of two containers whose environment and volume are of the ConfigMap `config`.
pub fn deployment(name: &str, config: &str, number: usize) -> String {
    let tier = ["front", "middle", "back"][number % 3];
    let replicas = number % 4 + 1;
    format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app: {name}, tier: {tier}}}
spec:
  replicas: {replicas}
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
      containers:
      - name: web
        image: registry.example.test/team/web:1.{replicas}
        args:
        - --name={name}
        - "--listen=:8080"
        ports:
        - containerPort: 8080
          name: http
          protocol: TCP
        env:
        - name: SELF
          value: {name}
        - name: LEVEL
          valueFrom:
            configMapKeyRef:
              name: {config}
              key: level
        envFrom:
        - configMapRef:
            name: {config}
        resources:
          requests: {{cpu: 20m, memory: 48Mi}}
          limits: {{memory: 96Mi}}
        readinessProbe:
          httpGet:
            path: /ready
            port: http
      - name: proxy
        image: registry.example.test/team/proxy:0.9
        volumeMounts:
        - mountPath: /etc/settings
          name: settings
      volumes:
      - name: settings
        configMap:
          name: {config}
"#
    )
}

/// A Service for the Deployment of the same name.
pub fn service(name: &str) -> String {
    format!(
        r#"apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector:
    app: {name}
  ports:
  - name: http
    port: 80
    targetPort: http
"#
    )
}

/// A ConfigMap with a block of text.
pub fn config_map(name: &str, number: usize) -> String {
    format!(
        r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
data:
  level: info
  number: "{number}"
  settings.conf: |
    # of {name}
    listen = 8080
    workers = {number}
    colour = "on"
"#
    )
}
