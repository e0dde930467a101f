package config

import (
	"fmt"
	"reflect"
)

// Changed gives the paths of the fields in which two configs of one type differ, in the order of the
// type: "limits.node_bucket.rate", "routes[3].timeout". Of lists of different lengths, of maps and of
// sections that only one of the two has, it gives the path as a whole. It tells no values, so that
// secrets may differ.
func Changed(before, after any) []string {
	var list []string
	changed(&list, "", reflect.ValueOf(before), reflect.ValueOf(after))
	return list
}

func changed(list *[]string, path string, a, b reflect.Value) {
	differ := func() { *list = append(*list, path) }
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		switch {
		case a.IsNil() != b.IsNil():
			differ()
		case !a.IsNil():
			changed(list, path, a.Elem(), b.Elem())
		}
	case reflect.Struct:
		if !hasFields(a.Type()) { // such as time.Time
			if !reflect.DeepEqual(a.Interface(), b.Interface()) {
				differ()
			}
			return
		}
		for i := range a.NumField() {
			if name, inline, skip := fieldName(a.Type().Field(i)); !skip {
				at := path
				if !inline {
					at = join(path, name)
				}
				changed(list, at, a.Field(i), b.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			differ()
			return
		}
		for i := range a.Len() {
			changed(list, path+fmt.Sprintf("[%d]", i), a.Index(i), b.Index(i))
		}
	default:
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			differ()
		}
	}
}

// hasFields reports whether a struct is a section: it has a field that a file can set.
func hasFields(t reflect.Type) bool {
	for i := range t.NumField() {
		if _, _, skip := fieldName(t.Field(i)); !skip {
			return true
		}
	}
	return false
}
