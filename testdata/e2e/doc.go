// Package e2e pulls through entrepot with real clients: dockerd, containerd,
// podman, skopeo, buildah, crane and regctl, against real registries that
// stand behind the public names on addresses of their own. TestAttack tries
// what hostile clients and registries would. The tests need root and Linux:
//
//	testdata/e2e/install bin/tools
//	make build build-race
//	go test -tags e2e -count=1 -timeout 20m -v ./testdata/e2e/
//
// The test binary runs itself again as process 1 of fresh network, mount and
// process namespaces with a private copy of /etc. So every port is free,
// nothing of the machine changes, no packet can leave it, and every process
// ends with the run. What is missing is an error, never a skip.
//
// Environment: E2E_BIN is the directory that install filled (default:
// bin/tools of the module), E2E_ENTREPOT the binary under test (default:
// bin/entrepot of the module) and E2E_ENTREPOT_RACE the one with the race
// detector; SOAK is how long TestSoak takes and SOAK_SEED its choices;
// E2E_KEEP=1 keeps the scratch directory with all logs.
package e2e
