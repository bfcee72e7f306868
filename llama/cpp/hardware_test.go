package cpp

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestProcessorIsThere holds that the program's own back end is found and named as such, with the machine's memory.
func TestProcessorIsThere(t *testing.T) {
	backends := Backends()
	i := slices.IndexFunc(backends, func(b Backend) bool { return b.Name == "CPU" && b.Library == "" })
	if i < 0 {
		t.Fatalf("no CPU back end of the program's own in %+v", backends)
	}
	devices := Devices()
	j := slices.IndexFunc(devices, func(d Device) bool { return d.Kind == Processor })
	if j < 0 || devices[j].Total <= 0 || devices[j].Free > devices[j].Total {
		t.Errorf("devices %+v", devices)
	}
	t.Logf("%+v %+v", backends, devices)
}

// TestThreadpoolsAreTheProcessors holds that pools come from the back end that computes with them, which may be a loaded one:
// run with OLLAMA_LIBRARY_PATH set to the absolute path of lib/ollama of make dist, it and the contract see that.
func TestThreadpoolsAreTheProcessors(t *testing.T) {
	for _, d := range Devices() {
		if d.Kind == Processor {
			if got := threadpoolLibrary(); got != d.Library {
				t.Errorf("pools come from %q, the processor's back end is %q", got, d.Library)
			}
			t.Logf("the processor's back end is %q", d.Library)
			return
		}
	}
}

// TestISAs holds that what this program was built for is there, since it runs, and that ggml, compiled with the same flags, agrees.
func TestISAs(t *testing.T) {
	built := map[string]bool{}
	for _, isa := range ISAs() {
		built[isa.Name] = isa.Built
		if isa.Built && !isa.Has {
			t.Errorf("%s is used and is not there", isa.Name)
		}
	}
	if runtime.GOARCH != "amd64" {
		return
	}
	for _, b := range Backends() {
		if b.Name != "CPU" || b.Library != "" {
			continue
		}
		for ours, theirs := range map[string]string{"AVX2": "AVX2", "FMA": "FMA", "F16C": "F16C", "AVX512F": "AVX512", "AVX512-VNNI": "AVX512_VNNI"} {
			if built[ours] != slices.Contains(b.Features, theirs) {
				t.Errorf("%s: built %v, but ggml has %v", ours, built[ours], b.Features)
			}
		}
	}
}

func TestLibraryFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lib", "ollama")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"libggml-base.so", "libggml-cuda.so", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("no library"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := t.TempDir()
	gone := filepath.Join(other, "lib", "ollama")
	t.Setenv(LibraryPathVariable, strings.Join([]string{dir, other, gone}, string(os.PathListSeparator)))
	folders := LibraryFolders()
	if len(folders) != 3 || !folders[1].Skipped || folders[2].Exists || folders[2].Skipped {
		t.Fatalf("got %+v", folders)
	}
	libraries := folders[0].Libraries
	if len(libraries) != 1 || libraries[0].File != "libggml-cuda.so" || libraries[0].Loaded || libraries[0].Problem == "" {
		t.Errorf("got %+v", libraries)
	}

	t.Setenv(LibraryPathVariable, "")
	if folders := LibraryFolders(); len(folders) != 0 {
		t.Errorf("an empty list of folders gives %+v", folders)
	}
}
