package cpp

// #include <stdlib.h>
// #include "hardware.h"
// #include "isa.h"
// #include "shim.h"
import "C"

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"
)

// ISA is an instruction set beyond the least of its architecture.
type ISA struct {
	Name string
	// Built says that the compiler of this program was allowed to use it, Has that the processor and the operating system offer it.
	// What is built and not there ends the program before main, with a message.
	Built, Has bool
}

// ISAs are the instruction sets that are known for this architecture.
func ISAs() (list []ISA) {
	for i := C.int(0); ; i++ {
		var built, has C.int
		name := C.aim_isa(i, &built, &has)
		if name == nil {
			return list
		}
		list = append(list, ISA{Name: C.GoString(name), Built: built != 0, Has: has != 0})
	}
}

// Backend is one way to compute that ggml has: a processor, or GPUs of one kind.
type Backend struct {
	// Name is ggml's, such as "CPU" or "CUDA".
	Name string
	// Library is the shared library that it was loaded from, "" where it is part of the program.
	Library string
	// Features are what it makes use of, such as "AVX2", with their values where those are not just 1.
	Features []string
}

// Device is something to compute on.
type Device struct {
	// Name is ggml's, such as "CPU" or "CUDA0", Description the maker's.
	Name, Description string
	// Backend is the name of its back end, and Library as there.
	Backend, Library string
	Kind             DeviceKind
	// Free and Total are bytes of its memory; of a processor that is the machine's.
	Free, Total int64
}

// DeviceKind is what a [Device] is.
type DeviceKind int

// The kinds of devices. An Accelerator helps the processor, in its memory.
const (
	Processor DeviceKind = iota
	GPU
	IntegratedGPU
	Accelerator
)

func (k DeviceKind) String() string {
	return [...]string{"processor", "GPU", "integrated GPU", "accelerator"}[k]
}

// Offloads says that layers can be moved to a device of this kind.
func (k DeviceKind) Offloads() bool { return k == GPU || k == IntegratedGPU }

// Backends are those that are there, the program's own and the loaded ones. The processor's work is done by the back end of
// the first device of its kind in [Devices].
func Backends() (list []Backend) {
	initialize()
	for i := range C.ggml_backend_reg_count() {
		reg := C.ggml_backend_reg_get(i)
		b := Backend{Name: C.GoString(C.ggml_backend_reg_name(reg)), Library: libraryOf(reg)}
		for f := C.aim_backend_features(reg); f != nil && f.name != nil; f = next(f) {
			feature := C.GoString(f.name)
			if value := C.GoString(f.value); value != "1" {
				feature += "=" + value
			}
			b.Features = append(b.Features, feature)
		}
		list = append(list, b)
	}
	return list
}

func next(f *C.struct_ggml_backend_feature) *C.struct_ggml_backend_feature {
	return (*C.struct_ggml_backend_feature)(unsafe.Add(unsafe.Pointer(f), C.sizeof_struct_ggml_backend_feature))
}

// Devices are those of all back ends, in the order in which llama.cpp prefers them: of several for the processor, which differ in
// the instructions they use, it takes the first.
func Devices() (list []Device) {
	initialize()
	for i := range C.ggml_backend_dev_count() {
		dev := C.ggml_backend_dev_get(i)
		reg := C.ggml_backend_dev_backend_reg(dev)
		var free, total C.size_t
		C.ggml_backend_dev_memory(dev, &free, &total)
		list = append(list, Device{
			Name: C.GoString(C.ggml_backend_dev_name(dev)), Description: C.GoString(C.ggml_backend_dev_description(dev)),
			Backend: C.GoString(C.ggml_backend_reg_name(reg)), Library: libraryOf(reg),
			Kind: kinds[C.ggml_backend_dev_type(dev)], Free: int64(free), Total: int64(total),
		})
	}
	return list
}

var kinds = map[uint32]DeviceKind{
	C.GGML_BACKEND_DEVICE_TYPE_CPU:   Processor,
	C.GGML_BACKEND_DEVICE_TYPE_GPU:   GPU,
	C.GGML_BACKEND_DEVICE_TYPE_IGPU:  IntegratedGPU,
	C.GGML_BACKEND_DEVICE_TYPE_ACCEL: Accelerator,
}

// libraryOf is the shared library in which a back end lies, "" for the program itself.
func libraryOf(reg C.ggml_backend_reg_t) string { return libraryAt(unsafe.Pointer(reg)) }

// threadpoolLibrary is the library that makes the pools of threads, likewise.
func threadpoolLibrary() string {
	initialize()
	return libraryAt(C.aim_threadpool_maker())
}

func libraryAt(address unsafe.Pointer) string {
	object := objectOf(address)
	if object == objectOf(C.aim_isa) {
		return ""
	}
	return object
}

func objectOf(address unsafe.Pointer) string {
	buf := make([]byte, 4096)
	C.aim_object_of(address, (*C.char)(unsafe.Pointer(&buf[0])), C.size_t(len(buf)))
	return C.GoString((*C.char)(unsafe.Pointer(&buf[0])))
}

// LibraryPathVariable names the environment variable with the folders of loadable back ends.
const LibraryPathVariable = "OLLAMA_LIBRARY_PATH"

// libraryPart must be part of a folder's path, or the binding does not look there.
const libraryPart = "lib/ollama"

// LibraryFolder is a folder in which loadable back ends are looked for.
type LibraryFolder struct {
	Path string
	// Exists says that it is a folder, Skipped that the binding does not look into it though named in the environment, since its
	// path has no "lib/ollama" in it.
	Exists, Skipped bool
	// Libraries are the back ends in it.
	Libraries []Library
}

// Library is a back end's shared library.
type Library struct {
	File   string
	Loaded bool
	// Problem is why it cannot be loaded. A library without one that is not loaded is a variant for other processors, if Unfit, or
	// lost against a better one.
	Problem string
	Unfit   bool
}

// LibraryFolders are the folders where back ends were looked for, with what there is in each: those of $OLLAMA_LIBRARY_PATH,
// else ../lib/ollama as seen from the program (on macOS the program's own folder).
func LibraryFolders() (folders []LibraryFolder) {
	loaded := map[string]bool{}
	for _, b := range Backends() {
		loaded[b.Library] = true
	}
	exe, err := os.Executable()
	if err != nil {
		exe = "."
	}
	value, named := os.LookupEnv(LibraryPathVariable)
	switch {
	case named:
	case runtime.GOOS == "darwin":
		value = filepath.Dir(exe)
	default:
		value = filepath.Join(filepath.Dir(exe), "..", "lib", "ollama")
	}
	for _, path := range filepath.SplitList(value) {
		abs, err := filepath.Abs(path)
		if err != nil {
			abs = path
		}
		f := LibraryFolder{Path: abs}
		if info, err := os.Stat(abs); err == nil && info.IsDir() {
			f.Exists = true
		}
		f.Skipped = abs != filepath.Dir(exe) && !strings.Contains(abs, filepath.FromSlash(libraryPart))
		if f.Exists && !f.Skipped {
			f.Libraries = libraries(abs, loaded)
		}
		folders = append(folders, f)
	}
	return folders
}

// libraries looks at the back ends in a folder. What all of them share, libggml-base, is none.
func libraries(dir string, loaded map[string]bool) (list []Library) {
	paths, err := filepath.Glob(filepath.Join(dir, "libggml-*.so"))
	if err != nil {
		return nil // the folder's name is no pattern
	}
	for _, path := range paths {
		l := Library{File: filepath.Base(path), Loaded: loaded[path]}
		if l.File == "libggml-base.so" {
			continue
		}
		if !l.Loaded {
			l.Problem, l.Unfit = tryLibrary(path)
		}
		list = append(list, l)
	}
	return list
}

func tryLibrary(path string) (problem string, unfit bool) {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var thrown errorBuffer
	switch C.aim_try_library(cpath, thrown.ptr(), thrown.len()) {
	case -2:
		return thrown.String(), false
	case 0:
		return "", true
	}
	return "", false
}
