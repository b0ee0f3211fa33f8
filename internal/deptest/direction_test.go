package deptest

import (
	"slices"
	"strings"
	"testing"
)

// rules say what a folder of the module may import of the module. The longest matching folder decides; "x/..."
// stands for x and all below it. What has no rule is refused, so that a new folder takes its place here.
var rules = map[string][]string{
	"internal/crl":       {},
	"internal/fault":     {},
	"internal/exactjson": {},
	"internal/rotate":    {"internal/fault"},
	"internal":           {"..."}, // tools and helpers of tests; nothing but tests and commands imports them

	"signer":    {"signer/...", "internal/exactjson", "internal/fault"},
	"transport": {"transport/...", "internal/crl", "internal/fault"},

	"sdk/quorum":            {"signer", "internal/fault"},
	"sdk/outbox":            {"sdk/quorum", "signer", "internal/fault"},
	"sdk/outbox/outboxtest": {"sdk/outbox"},
	"sdk/outbox/bolt":       {"sdk/outbox", "sdk/quorum", "signer", "internal/fault"},
	"sdk":                   {"sdk/quorum", "sdk/outbox", "signer", "transport", "internal/crl", "internal/exactjson", "internal/fault", "internal/rotate"},

	"sdk/plugin":       {"sdk", "sdk/plugin/...", "signer", "internal/fault"},
	"sdk/plugin/proto": {},
	"sdk/plugin/plugincheck": {
		"sdk", "sdk/plugin/...", "sdk/providertest", "sdk/sdktest", "signer", "internal/fault", "internal/procs",
	},
	"sdk/providertest": {"sdk", "sdk/sdktest", "signer", "internal/fault"},
	"sdk/sdktest":      {"sdk", "sdk/quorum", "sdk/outbox", "signer", "transport", "internal/fault"},

	"providers/file":   {"sdk", "signer", "internal/fault"},
	"providers/vault":  {"providers/vault/...", "sdk", "signer", "internal/fault"},
	"providers/stepca": {"providers/stepca/...", "sdk", "signer", "internal/fault"},

	"providers/stepca/stepcaplugin": {"providers/stepca", "sdk", "sdk/plugin", "internal/fault"},
	"providers/stepca/cmd":          {"providers/stepca/stepcaplugin", "sdk/plugin"},
	"providers/file/cmd":            {"providers/file", "sdk", "sdk/plugin"},
	"providers/vault/cmd":           {"providers/vault", "sdk", "sdk/plugin"},

	"examples": {"..."},
}

// withTesting are the packages beside tests that may import testing: the suites that tests of others call.
var withTesting = []string{"sdk/outbox/outboxtest", "sdk/plugin/plugincheck", "sdk/providertest", "sdk/sdktest"}

// ownTests reports a package for the tests of this module alone.
func ownTests(path string) bool {
	elements := strings.Split(path, "/")
	return slices.Contains(elements, "internal") && slices.ContainsFunc(elements, func(e string) bool { return strings.HasSuffix(e, "test") })
}

func TestImportsRunOneWay(t *testing.T) {
	for path, p := range packages(t) {
		folder := path
		allowed, ok := rules[folder]
		for !ok && strings.Contains(folder, "/") {
			folder = folder[:strings.LastIndex(folder, "/")]
			allowed, ok = rules[folder]
		}
		if !ok {
			t.Errorf("%s has no rule; say in this test what it may import", path)
			continue
		}
		for _, imp := range p.Imports {
			if o := own(imp); o != "" && !matches(o, allowed) {
				t.Errorf("%s imports %s", path, o)
			}
		}
	}
}

func TestNothingImportsExamples(t *testing.T) {
	for path, p := range packages(t) {
		for _, imp := range p.Imports {
			if o := own(imp); matches(o, []string{"examples/..."}) && !matches(path, []string{"examples/..."}) {
				t.Errorf("%s imports %s", path, o)
			}
		}
	}
}

func TestOnlySuitesImportTesting(t *testing.T) {
	for path, p := range packages(t) {
		if slices.Contains(p.Imports, "testing") && !slices.Contains(withTesting, path) && !ownTests(path) {
			t.Errorf("%s imports testing outside a test", path)
		}
	}
}

func matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		base, all := strings.CutSuffix(pattern, "...")
		base = strings.TrimSuffix(base, "/")
		return path == base || all && (base == "" || strings.HasPrefix(path, base+"/"))
	})
}
