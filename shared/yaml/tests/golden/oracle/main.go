// Oracle fills in what the Go libraries behind kustomize and Flux make of the inputs of a golden file.
//
//	go run . ../v3.json ../v2.json ../emit.json
//
// A golden file is a JSON list of {in, out, err}; out and err are overwritten. The name of the file says what is asked:
// v3*: manifests as kustomize reads and prints them; v2*: text as sigs.k8s.io/yaml turns it into JSON;
// emit*: JSON as sigs.k8s.io/yaml prints it.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/kio"
	"sigs.k8s.io/yaml"
)

type golden struct {
	In  string `json:"in"`
	Out string `json:"out,omitempty"`
	Err string `json:"err,omitempty"`
}

func v3(in string) (string, error) {
	reader := kio.ByteReader{Reader: strings.NewReader(in), OmitReaderAnnotations: true, AnchorsAweigh: true, DisableUnwrapping: true}
	nodes, err := reader.Read()
	if err != nil {
		return "", err
	}
	var out []string
	for _, node := range nodes {
		text, err := node.MarshalJSON()
		if err != nil {
			return "", err
		}
		document, err := yaml.JSONToYAML(text)
		if err != nil {
			return "", err
		}
		out = append(out, string(document))
	}
	return strings.Join(out, "---\n"), nil
}

func ask(mode, in string) (out string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	switch {
	case strings.HasPrefix(mode, "v3"):
		return v3(in)
	case strings.HasPrefix(mode, "v2"):
		text, err := yaml.YAMLToJSON([]byte(in))
		return string(text), err
	case strings.HasPrefix(mode, "emit"):
		text, err := yaml.JSONToYAML([]byte(in))
		return string(text), err
	}
	return "", fmt.Errorf("no such mode: %s", mode)
}

func run(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var goldens []golden
	if err := json.Unmarshal(text, &goldens); err != nil {
		return err
	}
	var buffer bytes.Buffer
	buffer.WriteString("[\n")
	for i, g := range goldens {
		out, err := ask(filepath.Base(path), g.In)
		g.Out, g.Err = out, ""
		if err != nil {
			g.Out, g.Err = "", err.Error()
		}
		encoder := json.NewEncoder(&buffer)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(g); err != nil {
			return err
		}
		if i+1 < len(goldens) {
			buffer.Truncate(buffer.Len() - 1)
			buffer.WriteString(",\n")
		}
	}
	buffer.WriteString("]\n")
	return os.WriteFile(path, buffer.Bytes(), 0o644)
}

func main() {
	for _, path := range os.Args[1:] {
		if err := run(path); err != nil {
			fmt.Fprintln(os.Stderr, path+":", err)
			os.Exit(1)
		}
	}
}
