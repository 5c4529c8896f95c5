package controlplane

import (
	"encoding/json"
	"reflect"
	"testing"
)

// TestEachConstraintCounts sets one field after the other: none may be forgotten where a
// task without constraints is told from others.
func TestEachConstraintCounts(t *testing.T) {
	if text, err := json.Marshal(Constraints{}); string(text) != "{}" || err != nil || !(Constraints{}).IsZero() {
		t.Errorf("no constraints are %s, %v", text, err)
	}
	for i := range reflect.TypeFor[Constraints]().NumField() {
		var c Constraints
		field := reflect.ValueOf(&c).Elem().Field(i)
		switch field.Kind() {
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		case reflect.String:
			field.SetString("x")
		default:
			field.SetInt(1)
		}
		if c.IsZero() {
			t.Errorf("%s does not count", reflect.TypeFor[Constraints]().Field(i).Name)
		}
	}
}
