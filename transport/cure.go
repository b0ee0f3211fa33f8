package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// cured adds to the refusal of a certificate what is to be done about it.
func cured(err error, usage x509.ExtKeyUsage, now time.Time) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%w; trust the CA that issued it, and have the peer send its whole chain", err)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch {
		case invalid.Reason == x509.Expired && now.Before(invalid.Cert.NotBefore):
			return fmt.Errorf("%w; are the clocks right?", err)
		case invalid.Reason == x509.Expired:
			return fmt.Errorf("%w; have the peer renew it", err)
		case invalid.Reason == x509.IncompatibleUsage && usage == x509.ExtKeyUsageServerAuth:
			return fmt.Errorf("%w; have it issued with serverAuth in its extended key usage", err)
		case invalid.Reason == x509.IncompatibleUsage:
			return fmt.Errorf("%w; have it issued with clientAuth in its extended key usage", err)
		}
	}
	return err
}

// curedHandshake adds to the failure of an outbound handshake what is to be done about it.
func curedHandshake(err error, tls12 bool) error {
	if alert, ok := remoteAlert(err); ok {
		switch {
		case alert == alertVersion && !tls12:
			return fmt.Errorf("the peer does not speak TLS 1.3; upgrade it, or set Options.TLS12: %w", err)
		case alert == alertInternal:
			return fmt.Errorf("the peer cannot serve: it has no identity yet, or is closed: %w", err)
		case handshakeAlert(alert):
			return refusedUs(err)
		}
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("%w; is it TLS that is served there?", err)
	}
	return err
}

// refusedUs says what an alert about our certificate means.
func refusedUs(err error) error {
	if alert, _ := remoteAlert(err); alert == alertRequired {
		return fmt.Errorf("the peer wants a certificate of this node; give an Identity: %w", err)
	}
	return fmt.Errorf("the peer refuses this node's certificate; its trust must have the CA of our Identity, and its peers a name of it: %w", err)
}
