package pluginpb_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	pluginpb "github.com/alphaonedev/federation/sdk/plugin/proto"
)

// baseline is the form of version 1 that plugins in the field speak.
func baseline(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	b, err := os.ReadFile("testdata/v1.binpb")
	if err != nil {
		t.Fatal(err)
	}
	var f descriptorpb.FileDescriptorProto
	if err := proto.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	d, err := protodesc.NewFile(&f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheProtocolDoesNotBreakVersion1(t *testing.T) {
	for _, problem := range breaks(baseline(t), pluginpb.File_federation_plugin_v1_plugin_proto) {
		t.Error(problem)
	}
}

// TestBreakingChangesAreFound shows that the comparison can fail.
func TestBreakingChangesAreFound(t *testing.T) {
	was := baseline(t)
	for name, change := range map[string]func(*descriptorpb.FileDescriptorProto){
		"message removed": func(f *descriptorpb.FileDescriptorProto) { f.MessageType[0].Name = proto.String("Other") },
		"field removed": func(f *descriptorpb.FileDescriptorProto) {
			message(f, "InfoResponse").Field = message(f, "InfoResponse").Field[1:]
		},
		"field renumbered": func(f *descriptorpb.FileDescriptorProto) {
			message(f, "InfoResponse").Field[0].Number = proto.Int32(77)
		},
		"field renamed": func(f *descriptorpb.FileDescriptorProto) {
			message(f, "InfoResponse").Field[0].Name = proto.String("title")
		},
		"field retyped": func(f *descriptorpb.FileDescriptorProto) {
			message(f, "InfoResponse").Field[0].Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum()
		},
		"field made a list": func(f *descriptorpb.FileDescriptorProto) {
			message(f, "InfoResponse").Field[0].Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		},
		"enum value renumbered": func(f *descriptorpb.FileDescriptorProto) { f.EnumType[0].Value[1].Number = proto.Int32(50) },
		"method removed":        func(f *descriptorpb.FileDescriptorProto) { f.Service[0].Method = f.Service[0].Method[1:] },
		"method made a stream":  func(f *descriptorpb.FileDescriptorProto) { f.Service[0].Method[0].ServerStreaming = proto.Bool(true) },
		"method retyped": func(f *descriptorpb.FileDescriptorProto) {
			f.Service[0].Method[0].OutputType = proto.String(".federation.plugin.v1.InfoRequest")
		},
		"service removed": func(f *descriptorpb.FileDescriptorProto) { f.Service = f.Service[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			f := protodesc.ToFileDescriptorProto(was)
			change(f)
			is, err := protodesc.FileOptions{AllowUnresolvable: true}.New(f, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(breaks(was, is)) == 0 {
				t.Error("not found")
			}
		})
	}
}

func message(f *descriptorpb.FileDescriptorProto, name string) *descriptorpb.DescriptorProto {
	for _, m := range f.MessageType {
		if m.GetName() == name {
			return m
		}
	}
	panic(name)
}

// breaks returns what a plugin or a host of the old form would not understand in the new one.
func breaks(was, is protoreflect.FileDescriptor) []string {
	var out []string
	if was.Package() != is.Package() {
		out = append(out, "the package has another name")
	}
	for i := range was.Messages().Len() {
		old := was.Messages().Get(i)
		now := is.Messages().ByName(old.Name())
		if now == nil {
			out = append(out, "message "+string(old.Name())+" is gone")
			continue
		}
		for j := range old.Fields().Len() {
			f := old.Fields().Get(j)
			g := now.Fields().ByNumber(f.Number())
			switch {
			case g == nil:
				out = append(out, string(f.FullName())+" is gone")
			case g.Name() != f.Name(), g.Kind() != f.Kind(), g.Cardinality() != f.Cardinality(), typeName(g) != typeName(f):
				out = append(out, string(f.FullName())+" has changed")
			}
		}
	}
	for i := range was.Enums().Len() {
		old := was.Enums().Get(i)
		now := is.Enums().ByName(old.Name())
		for j := range old.Values().Len() {
			v := old.Values().Get(j)
			if now == nil || now.Values().ByNumber(v.Number()) == nil || now.Values().ByNumber(v.Number()).Name() != v.Name() {
				out = append(out, string(v.FullName())+" has changed")
			}
		}
	}
	for i := range was.Services().Len() {
		old := was.Services().Get(i)
		now := is.Services().ByName(old.Name())
		for j := range old.Methods().Len() {
			m := old.Methods().Get(j)
			if now == nil || now.Methods().ByName(m.Name()) == nil {
				out = append(out, string(m.FullName())+" is gone")
				continue
			}
			n := now.Methods().ByName(m.Name())
			if n.Input().FullName() != m.Input().FullName() || n.Output().FullName() != m.Output().FullName() ||
				n.IsStreamingClient() != m.IsStreamingClient() || n.IsStreamingServer() != m.IsStreamingServer() {
				out = append(out, string(m.FullName())+" has changed")
			}
		}
	}
	return out
}

func typeName(f protoreflect.FieldDescriptor) protoreflect.FullName {
	switch {
	case f.Enum() != nil:
		return f.Enum().FullName()
	case f.Message() != nil:
		return f.Message().FullName()
	}
	return ""
}

func TestTheDescriptorForOtherLanguagesIsThatOfTheGoCode(t *testing.T) {
	b, err := os.ReadFile("plugin.desc.b64")
	if err != nil {
		t.Fatal(err)
	}
	have, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(b), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	want, err := proto.MarshalOptions{Deterministic: true}.Marshal(
		protodesc.ToFileDescriptorProto(pluginpb.File_federation_plugin_v1_plugin_proto))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Error("plugin.desc.b64 is not current: cd gen && go run .")
	}
}
