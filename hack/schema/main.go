// Schema prints what a JSON round trip through the Go structs of the built-in Kubernetes kinds keeps, for
// kustomize-controller/src/normalize/schema.json. Flux sends every object of a built-in kind through such a round trip
// before it is applied; the controller repeats it from this table.
//
//	cd hack/schema && go run . > ../../kustomize-controller/src/normalize/schema.json
//
// "kinds" maps <apiVersion>/<kind> to a type, "types" a type to its fields: JSON name to type, then ",e" for omitempty
// and ",z" for omitzero. Types: s string, b bool, i32/i64 integers, f float, y bytes, q Quantity, x IntOrString,
// t Time, m MicroTime, d Duration, j any JSON, [] list of, {} map of, * pointer to, @ a struct by its name. Fields of
// embedded structs are listed with the struct that embeds them.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/scheme"
	kustomize "sigs.k8s.io/kustomize/api/types"
)

var types = map[string]map[string]string{}

var leaves = map[reflect.Type]string{
	reflect.TypeFor[resource.Quantity]():    "q",
	reflect.TypeFor[intstr.IntOrString]():   "x",
	reflect.TypeFor[metav1.Time]():          "t",
	reflect.TypeFor[metav1.MicroTime]():     "m",
	reflect.TypeFor[metav1.Duration]():      "d",
	reflect.TypeFor[runtime.RawExtension](): "j",
	reflect.TypeFor[metav1.FieldsV1]():      "j",
}

// name is short and unique: k8s.io/api/apps/v1.Deployment is apps.v1.Deployment.
func name(t reflect.Type) string {
	path := t.PkgPath()
	for _, prefix := range []string{"k8s.io/api/", "k8s.io/apimachinery/pkg/apis/", "sigs.k8s.io/kustomize/"} {
		path = strings.TrimPrefix(path, prefix)
	}
	return strings.ReplaceAll(path, "/", ".") + "." + t.Name()
}

func expression(t reflect.Type) string {
	if leaf, ok := leaves[t]; ok {
		return leaf
	}
	unmarshaler := reflect.TypeFor[json.Unmarshaler]()
	if t.Kind() == reflect.Struct && reflect.PointerTo(t).Implements(unmarshaler) {
		panic("a type with its own JSON form that this program does not know: " + t.String())
	}
	switch t.Kind() {
	case reflect.String:
		return "s"
	case reflect.Bool:
		return "b"
	case reflect.Int32, reflect.Uint32:
		return "i32"
	case reflect.Int, reflect.Int64:
		return "i64"
	case reflect.Uint8:
		return "i32"
	case reflect.Float64:
		return "f"
	case reflect.Interface:
		return "j"
	case reflect.Pointer:
		return "*" + expression(t.Elem())
	case reflect.Map:
		return "{}" + expression(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "y"
		}
		return "[]" + expression(t.Elem())
	case reflect.Struct:
		if _, ok := types[name(t)]; !ok {
			fields := map[string]string{}
			types[name(t)] = fields
			collect(t, fields)
		}
		return "@" + name(t)
	}
	panic("unexpected type: " + t.String())
}

func collect(t reflect.Type, fields map[string]string) {
	for i := range t.NumField() {
		field := t.Field(i)
		if !field.IsExported() {
			continue
		}
		parts := strings.Split(field.Tag.Get("json"), ",")
		key := parts[0]
		if key == "-" {
			continue
		}
		if key == "" && field.Anonymous {
			collect(field.Type, fields)
			continue
		}
		if key == "" {
			key = field.Name
		}
		text := expression(field.Type)
		for _, option := range parts[1:] {
			switch option {
			case "omitempty":
				text += ",e"
			case "omitzero":
				text += ",z"
			}
		}
		fields[key] = text
	}
}

func main() {
	kinds := map[string]string{}
	for gvk, t := range scheme.Scheme.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal || !reflect.PointerTo(t).Implements(reflect.TypeFor[metav1.Object]()) {
			continue
		}
		version, kind := gvk.ToAPIVersionAndKind()
		kinds[version+"/"+kind] = expression(t)[1:]
	}
	kinds["kustomize.config.k8s.io/Kustomization"] = expression(reflect.TypeFor[kustomize.Kustomization]())[1:]
	text, err := json.MarshalIndent(map[string]any{"kinds": kinds, "types": types}, "", "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(strings.ReplaceAll(string(text), "\": \"", "\":\""))
}
