$TTL 300
@       SOA ns1 hostmaster 2026112001 3600 900 1209600 60
        NS  ns1
ns1     A   192.0.2.1
www     A   127.0.1.11
        A   127.0.1.12
$INCLUDE "zones/hosts" office
$INCLUDE zones/hosts
