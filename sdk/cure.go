package sdk

import (
	"fmt"
	"net/http"

	"github.com/alphaonedev/federation/signer"
)

// refused is what a peer's refusal says, and what is to be done about it where that is known.
func refused(resp *http.Response) error {
	tag := signer.RefusalOf(resp)
	if tag == "" {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	if cure := cureOf(tag); cure != "" {
		return fmt.Errorf("status %d, %s: %s", resp.StatusCode, tag, cure)
	}
	return fmt.Errorf("status %d, %s", resp.StatusCode, tag)
}

// cureOf is what to do about a refusal that a configuration causes. The peer is the one that refused.
func cureOf(tag signer.Tag) string {
	switch tag {
	case signer.TagKeyUnavailable:
		return "the peer cannot fetch this node's keys; serve Handler at the URL that the peer has for this node, or give the peer Peer.Keys"
	case signer.TagKeyUnknown:
		return "the peer has other keys for this node; correct its Peer.Keys, or what is served at its URL for this node"
	case signer.TagSignatureMissing:
		return "the peer wants signed messages; give this node a Key"
	case signer.TagRecipient:
		return "the peer is not known to itself by this name; correct Peer.ServerName or Peer.IDs"
	case signer.TagPeer:
		return "this node's certificate names none of the peer's peers; correct the Peer that it has for this node"
	case signer.TagExpired, signer.TagFuture:
		return "compare the clocks of the two nodes"
	case signer.TagWire:
		return "the two nodes have different wires for one another; correct Peer.Wire"
	case TagPath:
		return "the peer serves nothing there; correct Peer.URL"
	}
	return ""
}
