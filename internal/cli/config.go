package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"rollcall/internal/app"
	"rollcall/internal/config"
	"rollcall/internal/postgres"
)

// inVariable is the name of the variable that may hold the text of the configuration.
const inVariable = "ROLLCALL_CONFIG_YAML"

// AddConfig gives a command, and those below it, the flag --config.
func AddConfig(root *cobra.Command) {
	root.PersistentFlags().StringP("config", "c", "",
		"the configuration file (default: the text in $"+inVariable+", else the file $ROLLCALL_CONFIG, else rollcall.yaml)")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml") // fails for an unknown flag
}

// ReadConfig finds the text of the configuration, and the name that errors call it by. What a command line
// says comes first, then the text in the variable: an image that names a file must not hide it.
func (env Env) ReadConfig(cmd *cobra.Command) (file string, data []byte, err error) {
	file, err = cmd.Flags().GetString("config")
	if err != nil {
		return "", nil, err
	}
	if text := env.Getenv(inVariable); file == "" && text != "" {
		return inVariable, []byte(text), nil
	}
	file = cmp.Or(file, env.Getenv("ROLLCALL_CONFIG"), "rollcall.yaml")
	data, err = os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("there is no configuration at %s; "+
			"name one with -c or ROLLCALL_CONFIG, or run rollcall demo, which needs none", file)
	}
	if err != nil {
		return "", nil, fmt.Errorf("read the configuration: %w", err)
	}
	return file, data, nil
}

// Load reads the configuration; its error lists everything that is wrong with it.
func (env Env) Load(cmd *cobra.Command) (*app.Setup, error) {
	file, data, err := env.ReadConfig(cmd)
	if err != nil {
		return nil, err
	}
	return app.Read(file, data, env.Getenv)
}

// Glance reads as much of the configuration as can be understood: a shell that completes a line may lack
// its variables.
func (env Env) Glance(cmd *cobra.Command) *config.Config {
	file, data, err := env.ReadConfig(cmd)
	if err != nil {
		return &config.Config{}
	}
	cfg, _ := config.Load(file, data, config.Env{Getenv: env.Getenv, ReadFile: os.ReadFile})
	if cfg == nil {
		return &config.Config{}
	}
	return cfg
}

// OnDatabase runs do on the database of a configuration, and closes its connections.
func (env Env) OnDatabase(s *app.Setup, do func(*postgres.DB) error) error {
	db, err := s.Open(s.Logger(env.Stderr))
	if err != nil {
		return err
	}
	defer app.CloseSoon(db)
	return do(db)
}
