// Command gen writes everything that is made from plugin.proto: the Go messages and services, the
// descriptor that other languages load at run time, and with -baseline the descriptor that later versions
// are compared with. Every tool that it uses is pinned in go.mod; no protoc is needed.
//
//	cd sdk/plugin/proto/gen && go run . -out ..
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// source is the name under which the file registers in a process: a bare "plugin.proto" would collide with
// another module's.
const source = "federation/plugin/v1/plugin.proto"

func main() {
	log.SetFlags(0)
	log.SetPrefix("gen: ")
	in := flag.String("in", "../plugin.proto", "the protocol")
	out := flag.String("out", "..", "folder that the generated files go to")
	carriers := flag.String("carriers", strings.Join([]string{
		"../../plugincheck/skeleton/python/federation_plugin.py.txt", "../../../../examples/plugin-python/federation_plugin.py",
		"../../plugincheck/skeleton/node/handshake.mjs.txt", "../../../../examples/plugin-node/handshake.mjs",
	}, ","), "files in Python and JavaScript that carry the descriptor, comma-separated")
	baseline := flag.Bool("baseline", false, "also write testdata/v1.binpb, the form that may no longer break")
	flag.Parse()
	if err := run(*in, *out, *carriers, *baseline); err != nil {
		log.Fatal(err)
	}
}

func run(in, out, carriers string, baseline bool) error {
	compiler := protocompile.Compiler{
		Resolver: &protocompile.SourceResolver{Accessor: func(name string) (io.ReadCloser, error) {
			if name != source {
				return nil, fs.ErrNotExist
			}
			return os.Open(in)
		}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), source)
	if err != nil {
		return err
	}
	full := protodesc.ToFileDescriptorProto(files[0])
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{source},
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{full},
	})
	if err != nil {
		return err
	}
	for _, tool := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		if err := generate(tool, request, out); err != nil {
			return err
		}
	}

	full.SourceCodeInfo = nil
	bare, err := proto.MarshalOptions{Deterministic: true}.Marshal(full)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "plugin.desc.b64"), wrap(bare), 0o644); err != nil {
		return err
	}
	for name := range strings.SplitSeq(carriers, ",") {
		if err := embed(name, wrap(bare)); err != nil {
			return err
		}
	}
	if !baseline {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(out, "testdata"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "testdata", "v1.binpb"), bare, 0o644)
}

// generate runs one code generator over the request and writes what it answers.
func generate(tool string, request []byte, out string) error {
	cmd := exec.Command("go", "tool", tool)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	answer, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", tool, err)
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(answer, &response); err != nil {
		return fmt.Errorf("%s: %w", tool, err)
	}
	if response.Error != nil {
		return fmt.Errorf("%s: %s", tool, *response.Error)
	}
	for _, f := range response.File {
		if err := os.WriteFile(filepath.Join(out, filepath.Base(f.GetName())), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// wrap encodes b in lines of 100 characters, so that a change of the protocol is a readable diff.
func wrap(b []byte) []byte {
	s := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	for len(s) > 100 {
		out.WriteString(s[:100] + "\n")
		s = s[100:]
	}
	out.WriteString(s + "\n")
	return []byte(out.String())
}

// embed puts the descriptor into the last assignment of a file.
func embed(name string, text []byte) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for begin, end := range map[string]string{"_DESCRIPTOR = \"\"\"\n": "\"\"\"\n", "const DESCRIPTOR = `\n": "`;\n"} {
		if head, _, ok := strings.Cut(string(b), begin); ok {
			return os.WriteFile(name, []byte(head+begin+string(text)+end), 0o644)
		}
	}
	return fmt.Errorf("%s: it assigns no descriptor", name)
}
