#!/bin/sh
# Makes a certificate authority and a workload certificate each for web and ledger, in the folder given. For the demo only.
set -eu
folder=$1
mkdir -p "$folder"
cd "$folder"
[ -f mesh-ca.pem ] && exit 0

openssl ecparam -name prime256v1 -genkey -noout -out mesh-ca.key
openssl req -x509 -new -key mesh-ca.key -days 30 -subj /O=demo/CN=mesh-ca \
  -addext keyUsage=critical,keyCertSign,cRLSign -out mesh-ca.pem
for workload in web ledger; do
  openssl ecparam -name prime256v1 -genkey -noout -out "$workload.key"
  openssl req -new -key "$workload.key" -subj /O=demo -out "$workload.csr"
  {
    echo "subjectAltName=URI:spiffe://mesh.test/ns/bank/sa/$workload"
    echo "keyUsage=critical,digitalSignature"
    echo "extendedKeyUsage=serverAuth,clientAuth"
  } >"$workload.ext"
  openssl x509 -req -in "$workload.csr" -CA mesh-ca.pem -CAkey mesh-ca.key -CAcreateserial -days 1 \
    -extfile "$workload.ext" -out "$workload.pem"
done
chmod a+r ./*.key
