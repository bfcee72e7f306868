// Package deploy holds what Aim is deployed with to the program: see docs/deploy.md. It has no code beside its tests.
package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"aim/internal/config"
)

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// documents are the documents of a file of YAML.
func documents(t *testing.T, data []byte) (list []map[string]any) {
	t.Helper()
	for text := range strings.SplitSeq(string(data), "\n---\n") {
		var d map[string]any
		if err := yaml.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		list = append(list, d)
	}
	return list
}

// at is what stands at a path of names and of numbers.
func at(t *testing.T, x any, path string) any {
	t.Helper()
	for name := range strings.SplitSeq(path, "/") {
		switch v := x.(type) {
		case map[string]any:
			x = v[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(v) {
				t.Fatalf("%s: there is no %s", path, name)
			}
			x = v[i]
		default:
			t.Fatalf("%s: there is no %s", path, name)
		}
	}
	return x
}

func seconds(t *testing.T, x any) float64 {
	t.Helper()
	switch v := x.(type) {
	case uint64:
		return float64(v)
	case string:
		n, err := strconv.ParseFloat(strings.TrimSuffix(v, "s"), 64)
		if err == nil {
			return n
		}
	}
	t.Fatalf("%v is no number of seconds", x)
	return 0
}

func parsed(t *testing.T, name string, text []byte) *config.Config {
	t.Helper()
	c, err := config.Parse(name, text, config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestImage holds the image's configuration to the program, and the port of its health check to the configuration.
func TestImage(t *testing.T) {
	c := parsed(t, "deploy/docker/aim.yaml", read(t, "docker", "aim.yaml"))
	if c.Server.Address != "0.0.0.0:8080" || c.Server.MetricsAddress != "0.0.0.0:9090" || c.Accounts.RequireKeys != "always" {
		t.Errorf("the image serves %+v, keys %s", c.Server, c.Accounts.RequireKeys)
	}
	text := string(read(t, "docker", "Dockerfile"))
	for _, want := range []string{"\nUSER 10001:10001\n", "\nHEALTHCHECK ", "EXPOSE 8080 9090"} {
		if !strings.Contains(text, want) {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
	if path, err := exec.LookPath("hadolint"); err != nil {
		t.Log("hadolint is missing; make deploy-check fetches it")
	} else if out, err := exec.Command(path, "docker/Dockerfile").CombinedOutput(); err != nil {
		t.Errorf("hadolint: %v\n%s", err, out)
	}
	ignore := strings.Split(string(read(t, "docker", "Dockerfile.dockerignore")), "\n")
	for _, kept := range []string{"!cmd", "!internal", "!llama", "!models", "!sampler", "!scripts", "!server", "!go.mod", "!LICENSE"} {
		if _, err := os.Stat(filepath.Join("..", kept[1:])); err != nil || !slices.Contains(ignore, kept) {
			t.Errorf("%s: in the context %v, there %v", kept, slices.Contains(ignore, kept), err)
		}
	}
	if _, err := os.Stat("../web"); err == nil && !slices.Contains(ignore, "!web") {
		t.Error("the folder web is not in the context of the image")
	}
}

// TestVariables holds that what sets the environment sets variables that are read.
func TestVariables(t *testing.T) {
	known := []string{"AIM_MODELS", "AIM_SECRET_FILE", "AIM_CONFIG", "AIM_DB_PASSWORD", "AIM_MODELS_DIR"} // the last two are Compose's own
	for _, v := range config.Variables() {
		known = append(known, v.Name)
	}
	name := regexp.MustCompile(`\bAIM_[A-Z_]+\b`)
	for _, path := range []string{"docker/Dockerfile", "docker/aim.yaml", "compose/compose.yaml", "kubernetes/aim.yaml", "systemd/aim.service"} {
		for _, v := range name.FindAllString(string(read(t, path)), -1) {
			if !slices.Contains(known, v) && v != "AIM_PORT" { // Kubernetes's own, in a comment
				t.Errorf("%s: nothing reads %s", path, v)
			}
		}
	}
}

// TestCompose holds what Compose starts to the files that it mounts, and to the time that the server takes to drain.
func TestCompose(t *testing.T) {
	d := documents(t, read(t, "compose", "compose.yaml"))[0]
	drain := parsed(t, "deploy/docker/aim.yaml", read(t, "docker", "aim.yaml")).Server.DrainTimeout.Seconds()
	if got := seconds(t, at(t, d, "services/aim/stop_grace_period")); got < drain+10 {
		t.Errorf("Aim is killed after %v s, and drains for %v s", got, drain)
	}
	for _, name := range []string{"aim", "postgres", "valkey", "prometheus", "grafana"} {
		for _, v := range asList(at(t, d, "services/"+name+"/volumes")) {
			source, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(source, ".") {
				continue
			}
			if _, err := os.Stat(filepath.Join("compose", source)); err != nil {
				t.Errorf("%s mounts what is not there: %v", name, err)
			}
		}
	}
}

func asList(x any) (list []string) {
	v, _ := x.([]any)
	for _, e := range v {
		if s, ok := e.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

// TestKubernetes holds the manifests to the configuration in them: ports, probes, secrets, and the time to drain.
func TestKubernetes(t *testing.T) {
	kinds := map[string]map[string]any{}
	for _, d := range documents(t, read(t, "kubernetes", "aim.yaml")) {
		kinds[d["kind"].(string)] = d
	}
	text, _ := at(t, kinds["ConfigMap"], "data/aim.yaml").(string)
	c := parsed(t, "deploy/kubernetes/aim.yaml: aim.yaml", []byte(text))
	pod := at(t, kinds["Deployment"], "spec/template/spec")
	container := at(t, pod, "containers/0")
	for i, address := range []string{c.Server.Address, c.Server.MetricsAddress} {
		port := at(t, container, "ports/"+strconv.Itoa(i)+"/containerPort")
		if want := "0.0.0.0:" + strconv.FormatUint(port.(uint64), 10); address != want {
			t.Errorf("the configuration listens on %s, the container on %s", address, want)
		}
	}
	wait := seconds(t, at(t, container, "lifecycle/preStop/sleep/seconds"))
	if got := seconds(t, at(t, pod, "terminationGracePeriodSeconds")); got < c.Server.DrainTimeout.Seconds()+wait+10 {
		t.Errorf("a pod is killed after %v s, and drains for %v after %v s", got, c.Server.DrainTimeout, wait)
	}
	for path, want := range map[string]any{
		"livenessProbe/httpGet/path": "/health/live", "readinessProbe/httpGet/path": "/health/ready", "startupProbe/httpGet/path": "/health/live",
		"securityContext/readOnlyRootFilesystem": true, "securityContext/allowPrivilegeEscalation": false,
	} {
		if got := at(t, container, path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	for _, file := range []string{c.Accounts.DatabaseFile, c.Accounts.RedisFile, c.SecretFile} {
		if !strings.HasPrefix(file, "/run/secrets/aim/") {
			t.Errorf("%q is not in the volume of the secret", file)
		}
	}
	// Mode 0440 is all that internal/state takes of a secret that is another's.
	if got := at(t, pod, "volumes/1/secret/defaultMode"); got != uint64(0o440) {
		t.Errorf("the secret's mode is %v", got)
	}
	if at(t, kinds["PodDisruptionBudget"], "spec/minAvailable") != uint64(1) {
		t.Error("the budget lets all pods go at once")
	}
}

// TestUnit has systemd judge the unit, and holds its times to the configuration's defaults.
func TestUnit(t *testing.T) {
	text := read(t, "systemd", "aim.service")
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatal("there is no TimeoutStopSec")
	}
	if stop, _ := strconv.Atoi(string(m[1])); float64(stop) < config.Default().Server.DrainTimeout.Seconds()+10 {
		t.Errorf("Aim is killed after %d s", stop)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is missing: install systemd to check the unit")
	}
	// verify wants the programs to be there.
	unit := filepath.Join(t.TempDir(), "aim.service")
	if err := os.WriteFile(unit, bytes.ReplaceAll(text, []byte("/usr/local/bin/aim"), []byte("/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || bytes.Contains(out, []byte("aim.service:")) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command(analyze, "security", "--no-pager", "--offline=true", "--threshold=20", unit).CombinedOutput()
	if bytes.Contains(out, []byte("unrecognized option")) {
		t.Skip("this systemd-analyze is older than 250, and cannot rate a unit that is not loaded")
	}
	if err != nil {
		t.Errorf("systemd-analyze security rates the unit above 2.0: %v\n%s", err, out)
	}
	t.Logf("%s", out[max(0, bytes.LastIndex(out, []byte("Overall"))):])
}
