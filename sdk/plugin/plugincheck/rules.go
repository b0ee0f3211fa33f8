package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// A rule is one thing that a plugin must do. look returns nil if it does, a skip where there is nothing to
// look at, and otherwise what was found.
type rule struct {
	name  string
	title string
	cure  string
	look  func(context.Context, *target) error
}

// A skip says why a rule was not looked at.
type skip struct{ why string }

func (s skip) Error() string { return s.why }

var errNoWatch = skip{"the plugin must be polled (Watch is UNIMPLEMENTED)"}

// ruleTime bounds each rule, so that a plugin that hangs fails one and not the rest.
const ruleTime = 5 * time.Minute

// rules are looked at in this order. The names are stable.
var rules = []rule{
	{
		"human", "run by hand, it says what it is and exits with an error",
		"look for the environment variable FEDERATION_PLUGIN before anything else; without it print a sentence to standard error and exit with a status that is not 0",
		lookHuman,
	},
	{
		"handshake", "the handshake line is the first thing on standard output",
		"print 1|1|unix|SOCKET|grpc|CERTIFICATE and a line break, flush, and print nothing before it; the socket lies in PLUGIN_UNIX_SOCKET_DIR",
		lookHandshake,
	},
	{
		"tls-strangers", "strangers get nowhere: no plaintext, no certificate, another's certificate",
		"serve mutual TLS only; require a client certificate and trust none but the one in PLUGIN_CLIENT_CERT",
		lookStrangers,
	},
	{
		"health", "the health service says SERVING for \"plugin\"",
		"implement grpc.health.v1.Health; Check for the service \"plugin\" answers SERVING",
		lookHealth,
	},
	{
		"info", "Info names the plugin, its version and its roles",
		"answer Info before any configuration, with a name of letters, digits, '.', '_' and '-', a version, and at least one role",
		lookInfo,
	},
	{
		"unconfigured", "a call before Configure is an error, and no crash",
		"answer UNAVAILABLE until Configure has succeeded",
		lookUnconfigured,
	},
	{
		"configure", "Configure takes the configuration and names roles that Info offered",
		"check the flags -set and -secret of plugincheck first; then: return in ConfigureResponse.roles the roles that this configuration gives, each among those of Info",
		lookConfigure,
	},
	{
		"configure-again", "the same revision again changes nothing; an older one is refused",
		"keep the revision in force: the same revision and values answer as before and make nothing anew, an older revision is INVALID_ARGUMENT",
		steadily(lookConfigureAgain),
	},
	{
		"configure-bad", "a bad configuration is INVALID_ARGUMENT and leaves the old in force",
		"refuse settings that you do not know (a misspelt one must not become a default), and replace the configuration in force, and its revision, only when the new one is complete",
		steadily(lookConfigureBad),
	},
	{
		"configure-together", "Configure calls at once do not disturb each other",
		"take one Configure at a time, under a lock",
		lookConfigureTogether,
	},
	{
		"validate", "Validate judges a configuration and changes nothing",
		"check the settings alone: INVALID_ARGUMENT for those that Configure would refuse; put nothing in force, contact nobody; or answer UNIMPLEMENTED",
		steadily(lookValidate),
	},
	{
		"roles", "a role that the plugin does not have is UNIMPLEMENTED",
		"answer UNIMPLEMENTED to the methods of a role that ConfigureResponse.roles did not name",
		lookRoles,
	},
	{
		"trust", "the trust provider passes the suite of package providertest",
		"each line above names the subtest and what it found; package sdk's documentation of TrustProvider has the rule",
		lookTrust,
	},
	{
		"identity", "the identity provider passes the suite of package providertest",
		"each line above names the subtest and what it found; package sdk's documentation of IdentityProvider has the rule",
		lookIdentity,
	},
	{
		"key", "the key provider passes the suite of package providertest",
		"each line above names the subtest and what it found; package sdk's documentation of KeyProvider has the rule",
		lookKey,
	},
	{
		"tls-algorithms", "every declared signature scheme works in a real TLS handshake",
		"declare in signature_schemes only what Sign can do; sign the digest that you are given (do not hash it again), with PSS salts of the length in salt_length",
		lookAlgorithms,
	},
	{
		"stale-key", "a sign request for a key that is not there is ABORTED",
		"compare the request's fingerprint (SHA-256 of the SubjectPublicKeyInfo) with the keys that you have told the host of, and never sign with another",
		lookStale,
	},
	{
		"sign-together", "100 signatures at once all verify",
		"allow calls at the same time, and guard what they share",
		lookSignTogether,
	},
	{
		"watch", "Watch sends a message at once, again after a resumption, and a slow reader holds up nobody",
		"send one WatchResponse when the stream opens; keep at most one unsent message for each stream; end the stream when the client goes away",
		lookWatch,
	},
	{
		"kill", "killed while it signs, a new process signs on",
		"keep nothing in the process that a new one cannot get again: keys belong into the backend or a file",
		lookKill,
	},
	{
		"stop", "asked to stop, it ends by itself within 2 s",
		"implement plugin.GRPCController/Shutdown (answer, then exit), or exit on SIGTERM",
		lookStop,
	},
	{
		"host-death", "it ends when its host is killed",
		"watch the parent process: read getppid() before you print the handshake line, look at it again and again, and exit when it has changed",
		lookHostDeath,
	},
	{
		"flat", "memory, descriptors and log stay flat over many reconfigurations",
		"close what the configuration of before has opened, and do not log more than a few lines for each",
		lookFlat,
	},
	{
		"secrets", "no secret appears in its log, its output or its errors",
		"never log a configuration as a whole, and do not put what a backend echoes into an error",
		lookSecrets,
	},
}

// rulesNamed checks names of rules, comma-separated; none are all.
func rulesNamed(names string) error {
	for _, name := range strings.Split(names, ",") {
		if names != "" && !slices.ContainsFunc(rules, func(r rule) bool { return r.name == name }) {
			return fmt.Errorf("no rule is named %q; -list lists them", name)
		}
	}
	return nil
}

// check looks at every rule, and tells of each verdict as it comes.
func check(ctx context.Context, tg *target, only string, tell func(verdict)) *report {
	r := &report{Plugin: tg.path, Time: time.Now()}
	var names []string
	if only != "" {
		names = strings.Split(only, ",")
	}
	for _, rl := range rules {
		if names != nil && !slices.Contains(names, rl.name) {
			continue
		}
		began := time.Now()
		err := looked(ctx, rl, tg)
		v := verdict{Rule: rl.name, Title: rl.title, Outcome: passed, Seconds: time.Since(began).Seconds()}
		var s skip
		switch {
		case err == nil:
			r.Passed++
		case errors.As(err, &s):
			v.Outcome, v.Detail = skipped, s.why
			r.Skipped++
		default:
			v.Outcome, v.Detail, v.Cure = failed, tg.redact(err.Error()), rl.cure
			r.Failed++
		}
		r.Verdicts = append(r.Verdicts, v)
		tell(v)
	}
	r.Name, r.Version = tg.name, tg.version
	return r
}

// looked bounds a rule and survives its mistakes.
func looked(ctx context.Context, rl rule, tg *target) (err error) {
	ctx, cancel := context.WithTimeout(ctx, ruleTime)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("plugincheck itself failed: %v", p)
		}
	}()
	return rl.look(ctx, tg)
}

func has(roles []pluginpb.Role, r pluginpb.Role) bool { return slices.Contains(roles, r) }
