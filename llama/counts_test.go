package llama

import (
	"reflect"
	"testing"

	"aim/sampler"
)

// TestCountsAddUp: no field is forgotten in the sums.
func TestCountsAddUp(t *testing.T) {
	var a, b sampler.Counts
	for i := range reflect.TypeFor[sampler.Counts]().NumField() {
		reflect.ValueOf(&a).Elem().Field(i).SetUint(uint64(100 + i))
		reflect.ValueOf(&b).Elem().Field(i).SetUint(uint64(7 * (i + 1)))
	}
	if got := subtract(add(a, b), b); got != a {
		t.Errorf("%+v + %+v - %+v = %+v", a, b, b, got)
	}
	sum := add(a, b)
	for i := range reflect.TypeFor[sampler.Counts]().NumField() {
		if got, want := reflect.ValueOf(sum).Field(i).Uint(), uint64(100+i+7*(i+1)); got != want {
			t.Errorf("%s is %d, want %d", reflect.TypeFor[sampler.Counts]().Field(i).Name, got, want)
		}
	}
}
