// Prints precertificates signed by Precertificate Signing Certificates, with the leaf that
// certificate-transparency-go makes of each.
package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"log"
	"math/big"
	"os"
	"strings"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
)

type vector struct {
	Name  string   `json:"name"`
	Chain [][]byte `json:"chain"`
	Leaf  []byte   `json:"leaf"`
}

var (
	keyIdentifier = asn1.ObjectIdentifier{2, 5, 29, 35}
	poison        = pkix.Extension{
		Id:       asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 3},
		Critical: true,
		Value:    []byte{5, 0},
	}
	precertificateSigning = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 4}
)

const timestamp = 1_795_000_000_123

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func serial() *big.Int { return must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 152))) }

func ecKey() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Vectors"}},
		NotBefore:             time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC),
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
}

func sign(template, parent *x509.Certificate, key, parentKey crypto.Signer) *x509.Certificate {
	return must(x509.ParseCertificate(signed(template, parent, key, parentKey)))
}

func signed(template, parent *x509.Certificate, key, parentKey crypto.Signer) []byte {
	return must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey))
}

// anonymous is a parent that gives what it signs no key identifier.
func anonymous(parent *x509.Certificate) *x509.Certificate {
	other := *parent
	other.SubjectKeyId = nil
	return &other
}

func main() {
	var vectors []vector
	for _, one := range []struct {
		name                   string
		ofSigner, ofLeaf       bool
		explicitSigner         []pkix.Extension
		explicitLeaf           []pkix.Extension
		before, after          []pkix.Extension
		issuerName, signerName string
		key                    crypto.Signer
		issuerPathLength       int
	}{
		{name: "both have a key identifier", ofSigner: true, ofLeaf: true},
		{name: "only the signer has one", ofSigner: true},
		{name: "only the precertificate has one", ofLeaf: true},
		{name: "neither has one"},
		{name: "the identifier is critical", ofSigner: true, explicitLeaf: []pkix.Extension{{Id: keyIdentifier, Critical: true, Value: []byte{0x30, 0x03, 0x80, 0x01, 0x07}}}},
		{name: "the identifier is not said to be critical", ofSigner: true, explicitLeaf: []pkix.Extension{{Id: keyIdentifier, Value: []byte{0x30, 0x00}}}},
		{name: "a long identifier replaces a short one", ofLeaf: true, explicitSigner: []pkix.Extension{{Id: keyIdentifier, Value: append([]byte{0x30, 0x81, 0xcb, 0x80, 0x81, 0xc8}, bytes.Repeat([]byte{0x5a}, 200)...)}}},
		{name: "a long identifier is added", explicitSigner: []pkix.Extension{{Id: keyIdentifier, Value: append([]byte{0x30, 0x82, 0x01, 0x30, 0x80, 0x82, 0x01, 0x2c}, bytes.Repeat([]byte{0x5a}, 300)...)}}},
		{name: "the poison is first", ofSigner: true, ofLeaf: true, before: []pkix.Extension{poison}},
		{name: "the poison is last but one", ofSigner: true, ofLeaf: true, after: []pkix.Extension{poison, {Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: []byte{0x0c, 0x02, 'h', 'i'}}}},
		{name: "the issuer has a long name", ofSigner: true, ofLeaf: true, issuerName: strings.Repeat("Long ", 60), signerName: "S"},
		{name: "the signer has a long name", ofSigner: true, ofLeaf: true, issuerName: "I", signerName: strings.Repeat("Long ", 60)},
		{name: "an RSA key signs", ofSigner: true, ofLeaf: true, key: must(rsa.GenerateKey(rand.Reader, 2048))},
		{name: "the issuer allows no intermediates", ofSigner: true, ofLeaf: true, issuerPathLength: -1},
	} {
		rootKey, issuerKey, signerKey, leafKey := ecKey(), ecKey(), one.key, ecKey()
		if signerKey == nil {
			signerKey = ecKey()
		}
		if one.issuerName == "" {
			one.issuerName, one.signerName = "Issuer", "Signer of precertificates"
		}
		rootTemplate := authority("Root")
		root := sign(rootTemplate, rootTemplate, rootKey, rootKey)
		issuerTemplate := authority(one.issuerName)
		if one.issuerPathLength < 0 {
			issuerTemplate.MaxPathLenZero = true
		}
		issuer := sign(issuerTemplate, root, issuerKey, rootKey)

		signerTemplate := authority(one.signerName)
		signerTemplate.UnknownExtKeyUsage = []asn1.ObjectIdentifier{precertificateSigning}
		signerTemplate.ExtraExtensions = one.explicitSigner
		above := issuer
		if !one.ofSigner {
			above = anonymous(issuer)
		}
		signer := sign(signerTemplate, above, signerKey, issuerKey)

		extensions := append(append([]pkix.Extension{}, one.before...), one.explicitLeaf...)
		extensions = append(extensions, one.after...)
		if one.before == nil && one.after == nil {
			extensions = append(extensions, poison)
		}
		above = signer
		if !one.ofLeaf {
			above = anonymous(signer)
		}
		precertificate := signed(&x509.Certificate{
			SerialNumber:    serial(),
			NotBefore:       time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC),
			NotAfter:        time.Date(2026, 2, 1, 0, 10, 0, 0, time.UTC),
			KeyUsage:        x509.KeyUsageDigitalSignature,
			ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
			EmailAddresses:  []string{"somebody@example.com"},
			ExtraExtensions: extensions,
		}, above, leafKey, signerKey)

		made := vector{Name: one.name}
		var chain []*ctx509.Certificate
		for _, certificate := range [][]byte{precertificate, signer.Raw, issuer.Raw, root.Raw} {
			made.Chain = append(made.Chain, certificate)
			parsed, err := ctx509.ParseCertificate(certificate)
			if ctx509.IsFatal(err) {
				log.Fatal(err)
			}
			chain = append(chain, parsed)
		}
		leaf := must(ct.MerkleTreeLeafFromChain(chain, ct.PrecertLogEntryType, timestamp))
		made.Leaf = must(tls.Marshal(*leaf))
		vectors = append(vectors, made)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(vectors); err != nil {
		log.Fatal(err)
	}
}
