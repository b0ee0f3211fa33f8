package signer

import "github.com/alphaonedev/federation/internal/fault"

// The sentinels of the module, the same values as in sdk and transport.
var (
	ErrNotFound    = fault.ErrNotFound
	ErrUnavailable = fault.ErrUnavailable
	ErrPermission  = fault.ErrPermission
	ErrExpired     = fault.ErrExpired
	ErrConfig      = fault.ErrConfig
	ErrMaterial    = fault.ErrMaterial
	ErrUnsupported = fault.ErrUnsupported
	ErrClosed      = fault.ErrClosed
)
