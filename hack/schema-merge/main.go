// Writes the compact description of Kubernetes types that strategic merge works by. See README.md.
package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// shortened drops what every definition's name starts with.
func shortened(reference string) string {
	name := strings.TrimPrefix(reference, "#/definitions/")
	return strings.TrimPrefix(name, "io.k8s.")
}

// shape describes a field's schema, or returns "" for a scalar.
func shape(s *spec.Schema, definitions spec.Definitions) string {
	if reference := s.Ref.String(); reference != "" {
		target, found := definitions[strings.TrimPrefix(reference, "#/definitions/")]
		if !found {
			log.Fatalf("no definition for %s", reference)
		}
		if isScalar(&target) {
			return ""
		}
		return shortened(reference)
	}
	if s.Items != nil && s.Items.Schema != nil {
		return list(s) + " " + orUnknown(shape(s.Items.Schema, definitions))
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		return "{} " + orUnknown(shape(s.AdditionalProperties.Schema, definitions))
	}
	if isScalar(s) {
		return ""
	}
	return "-"
}

func orUnknown(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func isScalar(s *spec.Schema) bool {
	if len(s.Properties) > 0 || s.Items != nil || s.AdditionalProperties != nil || len(s.Type) == 0 {
		return false
	}
	return s.Type[0] != "object" && s.Type[0] != "array"
}

func list(s *spec.Schema) string {
	strategy, keys := (&openapi.ResourceSchema{Schema: s}).PatchStrategyAndKeyList()
	if strategy == "" {
		return "[]"
	}
	return "[" + strategy + ";" + strings.Join(keys, ",") + "]"
}

func main() {
	definitions := openapi.Schema().Definitions
	names := make([]string, 0, len(definitions))
	for name := range definitions {
		names = append(names, name)
	}
	sort.Strings(names)

	zipped, err := gzip.NewWriterLevel(os.Stdout, gzip.BestCompression)
	if err != nil {
		log.Fatal(err)
	}
	out := bufio.NewWriter(zipped)
	for _, name := range names {
		definition := definitions[name]
		if isScalar(&definition) {
			continue
		}
		fmt.Fprintf(out, "type %s\n", shortened(name))
		kinds, _ := definition.Extensions["x-kubernetes-group-version-kind"].([]interface{})
		for _, kind := range kinds {
			entry := kind.(map[string]interface{})
			version := entry["version"].(string)
			if group := entry["group"].(string); group != "" {
				version = group + "/" + version
			}
			fmt.Fprintf(out, "kind %s %s\n", version, entry["kind"])
		}
		fields := make([]string, 0, len(definition.Properties))
		for field := range definition.Properties {
			fields = append(fields, field)
		}
		sort.Strings(fields)
		for _, field := range fields {
			property := definition.Properties[field]
			if s := shape(&property, definitions); s != "" {
				fmt.Fprintf(out, ".%s %s\n", field, s)
			}
		}
		if definition.AdditionalProperties != nil && definition.AdditionalProperties.Schema != nil {
			fmt.Fprintf(out, ".* %s\n", orUnknown(shape(definition.AdditionalProperties.Schema, definitions)))
		}
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		log.Fatal(err)
	}
}
