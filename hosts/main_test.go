package hosts

import (
	"testing"

	"github.com/entrepot/entrepot/testdata/world/leaks"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }
