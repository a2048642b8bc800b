#!/bin/sh
# Makes the certificates of the simulations anew: "sh make.sh" in this directory. They protect nothing, and never must:
# their keys are published here.
set -e
authority() { # NAME SUBJECT
    openssl ecparam -genkey -noout -name prime256v1 -out "$1.key.pem"
    openssl req -x509 -new -key "$1.key.pem" -subj "$2" -days 9125 -out "$1.pem" -sha256 \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign'
}
end() { # NAME SUBJECT AUTHORITY SERIAL EXTENSIONS [DAYS]
    name=$1 subject=$2 authority=$3 serial=$4 extensions=$5; shift 5
    openssl req -new -key "$name.key.pem" -subj "$subject" -out request
    printf '%s\n' "$extensions" >extensions
    openssl x509 -req -in request -CA "$authority.pem" -CAkey "$authority.key.pem" -set_serial "$serial" -sha256 \
        -extfile extensions -out "$name.pem" -days "${1:-9125}"
    rm -f request extensions
}
curve() { openssl ecparam -genkey -noout -name "$2" -out "$1.key.pem"; }
authority root '/C=CH/O=Fake/CN=Fake Root'
authority other '/C=CH/O=Fake/CN=Other Root'
curve between prime256v1
end between '/C=CH/O=Fake/CN=Fake Between' root 2 'basicConstraints=critical,CA:TRUE,pathlen:0
keyUsage=critical,keyCertSign,cRLSign'
openssl genrsa -traditional -out moon.key.pem 2048
end moon '/C=CH/O=Fake/CN=moon.example' root 3 'subjectAltName=DNS:moon.example'
curve sun prime256v1
end sun '/C=CH/O=Fake/CN=sun.example' root 4 'subjectAltName=DNS:sun.example'
curve venus secp384r1
end venus '/C=CH/O=Fake/CN=venus.example' root 5 'subjectAltName=DNS:venus.example'
openssl genpkey -algorithm ed25519 -out carol.key.pem
end carol '/C=CH/O=Fake/OU=Sales/CN=carol' between 6 'subjectAltName=email:carol@example'
openssl genrsa -traditional -out mars.key.pem 2048
end mars '/C=CH/O=Fake/CN=mars.example' root 9 'subjectAltName=DNS:mars.example'
curve pluto prime256v1
end pluto '/C=CH/O=Fake/CN=pluto.example' root 10 'subjectAltName=DNS:pluto.example'
curve io secp384r1
end io '/C=CH/O=Fake/CN=io.example' root 11 'subjectAltName=DNS:io.example'
curve eve prime256v1
end eve '/C=CH/O=Fake/CN=sun.example' other 7 'subjectAltName=DNS:sun.example'
curve old prime256v1
end old '/C=CH/O=Fake/CN=sun.example' root 8 'subjectAltName=DNS:sun.example' 30
for name in moon sun venus carol eve mars; do
    openssl x509 -in "$name.pem" -noout -pubkey >"$name.pub.pem"
done
rm -f root.key.pem other.key.pem between.key.pem
