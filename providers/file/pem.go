package file

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	bomUTF8    = []byte("\xef\xbb\xbf")
	bomBegin   = []byte("\xef\xbb\xbf-----BEGIN")
	beginMark  = []byte("-----BEGIN")
	endMark    = []byte("-----END")
	errNoPEM   = errors.New("has no PEM block (no line that starts with -----BEGIN)")
	errUTF16   = errors.New("is UTF-16 text; save it as ASCII or UTF-8")
	errNothing = errors.New("is empty; was it written whole?")
	errOneLine = errors.New("has two PEM blocks on one line, as when a file without a line break at its end is followed by another; put a line break between -----END …----- and -----BEGIN")
)

// blocks decodes a PEM file in full (RFC 7468). encoding/pem skips what it cannot read, which would turn a file
// that is half written into a shorter one; here each BEGIN must have become a block. A byte order mark and CRLF are
// fine, also where files with byte order marks were put together.
func blocks(data []byte) ([]*pem.Block, error) {
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return nil, errUTF16
	}
	data = bytes.ReplaceAll(data, bomBegin, beginMark)
	data = bytes.TrimPrefix(data, bomUTF8)
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errNothing
	}
	if !bytes.Contains(data, beginMark) {
		return nil, errNoPEM
	}
	if bytes.Contains(data, []byte("----------BEGIN")) {
		return nil, errOneLine
	}
	var all []*pem.Block
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		used := data[:len(data)-len(rest)]
		if bytes.Count(used, beginMark) != 1 || bytes.Count(used, endMark) != 1 {
			return nil, brokenBlock(len(all))
		}
		all = append(all, block)
		data = rest
	}
	if bytes.Contains(data, beginMark) || bytes.Contains(data, endMark) || startsBlock(data) {
		return nil, brokenBlock(len(all))
	}
	return all, nil
}

func brokenBlock(n int) error {
	return fmt.Errorf("PEM block %d is cut short or damaged; write the file whole, best by renaming a finished one over it", n+1)
}

// startsBlock reports whether the text ends in the first bytes of a BEGIN line.
func startsBlock(tail []byte) bool {
	line := tail[bytes.LastIndexByte(tail, '\n')+1:]
	return len(line) > 0 && bytes.HasPrefix(beginMark, line)
}

// isPEM reports whether a file is meant as PEM.
func isPEM(data []byte) bool { return bytes.Contains(data, beginMark) }

// isDER reports whether a file starts like a DER structure: a SEQUENCE with a length that is long, or right. A
// text can start with the same byte, which is "0".
func isDER(data []byte) bool {
	return len(data) > 2 && data[0] == 0x30 && (data[1] >= 0x80 && data[1] <= 0x84 || int(data[1]) == len(data)-2)
}

func isPrivateKeyType(kind string) bool { return strings.HasSuffix(kind, "PRIVATE KEY") }

// kinds lists the types of blocks for a message.
func kinds(all []*pem.Block) string {
	var names []string
	for _, b := range all {
		if name := label(b.Type); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// label makes a block's type fit for a message: it comes from the file.
func label(kind string) string {
	if len(kind) > 40 {
		return fmt.Sprintf("%q…", kind[:40])
	}
	return fmt.Sprintf("%q", kind)
}
