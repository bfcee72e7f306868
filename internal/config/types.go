package config

import "time"

// Version is that of the files this program writes and reads without an upgrade.
const Version = 1

// Config is a whole configuration. The comments of its fields are the descriptions in the schema and in `aim config print`. The tags say:
// default, what an absent setting is; check, its domain ("0..64", "above 0", a|b for words, see domain); flag, the flag of `aim serve`
// that overrides it; apply:"now", that a reload changes it without a restart; path, that a relative path begins at the
// file's folder (model and dsn: where it is a path; new: that it may not exist).
type Config struct {
	// Form of the file. This program reads 1; `aim config upgrade` rewrites older files.
	Version int `yaml:"version"`
	// How the server listens, and what it tells.
	Server Server `yaml:"server"`
	// Where API keys, usage and limits are kept.
	Accounts Accounts `yaml:"accounts"`
	// Folder of the owner's secret and of calibrations. Empty for $XDG_STATE_HOME/aim or ~/.local/state/aim.
	StateDir string `yaml:"state_dir" flag:"state-dir" path:"new"`
	// File with the owner's secret of 32 bytes or more, for replicas that must agree. Empty for one in the state folder, made at first start.
	SecretFile string `yaml:"secret_file" path:"file"`
	// Memory for the base models that are loaded at once; the one unused longest leaves for another. 0 for no limit.
	Memory Size `yaml:"memory" apply:"now"`
	// Base models: the files that are loaded, by a name of your own.
	Models map[string]*Model `yaml:"models"`
	// Virtual models: what is offered, by the name that requests give. All that share a base share its weights, cache and batch.
	VirtualModels map[string]*VirtualModel `yaml:"virtual_models" apply:"now"`

	trail
}

// Server is how the server listens, and what it tells.
type Server struct {
	// Address to listen on, host:port; port 0 takes a free one.
	Address string `yaml:"address" default:"127.0.0.1:8080" check:"address" flag:"addr"`
	// Address to answer /metrics on, apart from the API. Empty for the API's own.
	MetricsAddress string `yaml:"metrics_address" check:"address" flag:"metrics-addr"`
	// Address to answer Go's profiles on, for operators alone. Empty for none.
	ProfileAddress string `yaml:"profile_address" check:"address" flag:"pprof"`
	// How long a stream may be silent before a comment is sent; negative for never.
	KeepAlive time.Duration `yaml:"keep_alive" default:"15s" check:"not 0" flag:"keep-alive"`
	// How long running answers may go on after SIGTERM.
	DrainTimeout time.Duration `yaml:"drain_timeout" default:"30s" check:"at least 0" flag:"drain-timeout" apply:"now"`
	// How long a request may wait for a slot before it is refused; 0 for as long as its client waits.
	QueueTimeout time.Duration `yaml:"queue_timeout" default:"0s" check:"at least 0" apply:"now"`
	// How long a request may take in all before its answer ends; 0 for no limit.
	RequestTimeout time.Duration `yaml:"request_timeout" default:"0s" check:"at least 0" apply:"now"`
	// How long one decode may take before the server counts as stuck, and is not ready.
	StuckTimeout time.Duration `yaml:"stuck_timeout" default:"1m" check:"above 0" flag:"stuck-timeout"`
	// Whether the process ends when a decode does not end, for a supervisor to start it again.
	WatchdogExit bool `yaml:"watchdog_exit" default:"false" flag:"watchdog-exit"`
	// Largest body of a request.
	MaxBody Size `yaml:"max_body" default:"4MiB" check:"1KiB..1GiB"`
	// Largest head of a request, in bytes.
	MaxHeader Size `yaml:"max_header" default:"32KiB" check:"4KiB..1MiB"`
	// Connections at once; 0 for no limit.
	MaxConnections int `yaml:"max_connections" default:"4096" check:"0..1000000"`
	// Connections at once from one address that is no trusted proxy; 0 for no limit.
	MaxConnectionsPerAddress int `yaml:"max_connections_per_address" default:"256" check:"0..1000000"`
	// What is logged, and how.
	Log Log `yaml:"log"`
	// TLS, where both files are given. They are read again when they change.
	TLS TLS `yaml:"tls"`
	// Which pages of other origins may call the API from a browser.
	CORS CORS `yaml:"cors"`
	// Names that requests may give the server in Host, beside addresses and localhost, where it listens on loopback without keys. That keeps pages
	// of other origins from reaching it under a name of theirs (DNS rebinding). "*" allows all.
	Hosts []string `yaml:"hosts" apply:"now"`
	// Networks or addresses of proxies whose X-Forwarded-For or Forwarded tells the client's address. None by default.
	TrustedProxies []string `yaml:"trusted_proxies" check:"network" apply:"now"`
	// Whether the playground is served at /.
	Playground bool `yaml:"playground" default:"true"`
}

// Log is what is logged, and how.
type Log struct {
	// Least level to log.
	Level string `yaml:"level" default:"info" check:"debug|info|warn|error" flag:"log-level" apply:"now"`
	// Form of the log.
	Format string `yaml:"format" default:"text" check:"text|json" flag:"log-format"`
	// Whether prompts and answers are logged. They are what your users wrote: leave it off where you need not.
	Prompts bool `yaml:"prompts" default:"false" apply:"now"`
}

// TLS names a certificate.
type TLS struct {
	// PEM file with the certificate and its chain.
	Certificate string `yaml:"certificate" apply:"now" path:"file"`
	// PEM file with its private key.
	Key string `yaml:"key" apply:"now" path:"file"`
}

// CORS says which pages may call the API from a browser.
type CORS struct {
	// Origins such as https://chat.example.com, or "*" for all.
	Origins []string `yaml:"origins" check:"origin" apply:"now"`
}

// Accounts is where API keys, usage and limits are kept.
type Accounts struct {
	// Path of an SQLite file, or a postgres:// URL. Empty for aim.db in the state folder.
	Database DSN `yaml:"database" path:"dsn" flag:"database"`
	// File that holds the value of database, so that its password stands nowhere else.
	DatabaseFile string `yaml:"database_file" path:"file"`
	// redis:// or rediss:// URL of Redis or Valkey, which replicas share limits through. Empty where there is one replica.
	Redis DSN `yaml:"redis" check:"redis"`
	// File that holds the value of redis.
	RedisFile string `yaml:"redis_file" path:"file"`
	// Whether requests need a key. auto: as soon as there is one; until then the server takes only a loopback address.
	RequireKeys string `yaml:"require_keys" default:"auto" check:"auto|always|never"`
	// Whether keys share the prefixes of prompts. That saves time, and lets one key find out by cached_tokens or by time what another asked.
	SharePrefixes bool `yaml:"share_prefixes" default:"false"`
}

// Model is a base model: a file that is loaded, and how it is computed.
type Model struct {
	// Name in the models folder, or path of a GGUF file.
	File string `yaml:"file" flag:"model" check:"required" path:"model"`
	// Whether the base model itself is offered, unmodulated. auto: where no virtual model is made of it.
	Listed Toggle `yaml:"listed" default:"auto" apply:"now"`
	// When it is loaded: at the start, or with the first request.
	Load string `yaml:"load" default:"start" check:"start|lazy"`
	// How long it stays loaded without a request, where it is loaded lazily; 0 for ever.
	KeepAlive time.Duration `yaml:"keep_alive" default:"10m" check:"at least 0" apply:"now"`
	// Tokens of one conversation, prompt and answer; 0 is 4096, or what the model was trained on if that is less.
	Context int `yaml:"context" default:"0" check:"0..2147483647" flag:"ctx"`
	// Conversations to answer at once.
	Slots int `yaml:"slots" default:"4" check:"1..256" flag:"slots"`
	// Requests that may wait for a slot; beyond it they are refused with status 429.
	Queue int `yaml:"queue" default:"64" check:"0..65536" flag:"queue"`
	// File with a Jinja chat template, instead of the model's own.
	ChatTemplate string `yaml:"chat_template" flag:"chat-template" path:"file"`
	// Whether the file that `aim optimize` kept is loaded in place of the model's own; auto looks for it once.
	Optimize string `yaml:"optimize" default:"off" check:"off|auto" flag:"optimize"`
	// Adapters that act on the base model and on all that is made of it.
	Adapters Adapters `yaml:"adapters"`
	// Sets of adapters, by a name that virtual models give. They come on top of the model's own.
	AdapterSets map[string]*Adapters `yaml:"adapter_sets"`
	// How it is computed.
	Compute Compute `yaml:"compute"`
	// What is kept of prompts.
	Cache Cache `yaml:"cache"`
	// What is computed on GPUs, where there are any.
	GPU GPU `yaml:"gpu"`
	// How answers are guessed ahead, which changes their time alone.
	Speculate Speculate `yaml:"speculate"`
	// What happens to an answer when the context is full.
	ContextShift ContextShift `yaml:"context_shift"`
}

// Adapters is a set of adapters.
type Adapters struct {
	// LoRA adapters.
	LoRA []AdapterFile `yaml:"lora" flag:"lora"`
	// Control vectors.
	ControlVectors []AdapterFile `yaml:"control_vectors" flag:"control-vector"`
	// First and last layer that control vectors act on, from 1, such as 10-20. Empty for all.
	Layers string `yaml:"layers" check:"layers" flag:"control-vector-layers"`
}

// AdapterFile is an adapter.
type AdapterFile struct {
	// Path of the GGUF file.
	File string `yaml:"file" check:"required" path:"file"`
	// Its weight.
	Scale float64 `yaml:"scale" default:"1" check:"-100..100"`
}

// Compute is how a model is computed.
type Compute struct {
	// Most tokens of one decode.
	Batch int `yaml:"batch" default:"512" check:"1..65536" flag:"batch"`
	// Tokens of a decode that are computed at once; 0 is 512, or batch if that is less.
	Ubatch int `yaml:"ubatch" default:"0" check:"0..65536" flag:"ubatch"`
	// Threads that compute; 0 for as many as this process has processors.
	Threads int `yaml:"threads" default:"0" check:"0..512" flag:"threads"`
	// Threads for decodes of more than 32 tokens, as prompts are; 0 is as threads.
	ThreadsBatch int `yaml:"threads_batch" default:"0" check:"0..512" flag:"threads-batch"`
	// Use all threads even while other processes need the processors.
	KeepThreads bool `yaml:"keep_threads" default:"false" flag:"keep-threads"`
	// How threads are spread over the nodes of a NUMA machine. One choice holds for all models.
	NUMA string `yaml:"numa" default:"off" check:"off|distribute|isolate|numactl" flag:"numa"`
	// Map the file into memory instead of reading it.
	Mmap bool `yaml:"mmap" default:"true" flag:"!no-mmap"`
	// Keep the model in memory; fails where the limit of locked memory is too low.
	Mlock bool `yaml:"mlock" default:"false" flag:"mlock"`
	// Attention in one pass over the cache; auto is on where the model and the back end have it.
	FlashAttention string `yaml:"flash_attention" default:"auto" check:"auto|on|off" flag:"flash-attn"`
	// How long a decode with a part of a prompt may hold up running answers.
	PromptPause time.Duration `yaml:"prompt_pause" default:"200ms" check:"above 0" flag:"prompt-pause"`
}

// Cache is what is kept of prompts.
type Cache struct {
	// Take over what was computed for prompts that begin alike.
	Prefixes bool `yaml:"prefixes" default:"true" flag:"!no-prefix-cache"`
	// Memory for prefixes that had to leave the KV cache; auto is half of what that cache takes. The flag is in MiB.
	RAM AutoSize `yaml:"ram" default:"auto" flag:"cache-ram"`
	// File that keeps the prefixes over a restart. Empty for none.
	File string `yaml:"file" flag:"cache-file" path:"new"`
	// Keep all conversations in one KV cache, to share prefixes without a copy.
	Unified bool `yaml:"unified" default:"false" flag:"unified-kv"`
	// Format of the keys in the KV cache.
	TypeK string `yaml:"type_k" default:"f16" check:"f16|f32|bf16|q8_0|q5_1|q5_0|q4_1|q4_0|iq4_nl" flag:"cache-type-k"`
	// Format of the values; a quantized one needs flash attention.
	TypeV string `yaml:"type_v" default:"f16" check:"f16|f32|bf16|q8_0|q5_1|q5_0|q4_1|q4_0|iq4_nl" flag:"cache-type-v"`
}

// GPU is what is computed on GPUs.
type GPU struct {
	// Layers to compute there: auto for as many as fit the free memory, all, or a number.
	Layers Layers `yaml:"layers" default:"auto" flag:"gpu-layers"`
	// How several GPUs share a model: whole layers on each, all on the main one, or rows of each matrix on all.
	Split string `yaml:"split" default:"layer" check:"layer|none|row" flag:"split-mode"`
	// GPU that takes everything with split: none, and what cannot be shared with row; counted from 0.
	Main int `yaml:"main" default:"0" check:"0..255" flag:"main-gpu"`
	// Shares of the GPUs in the model, such as [3, 1]. Empty for by free memory.
	Shares []float64 `yaml:"shares" check:"0..1000000" flag:"tensor-split"`
}

// Speculate is how answers are guessed ahead.
type Speculate struct {
	// Whether to guess what an answer repeats of its prompt or of itself, where that makes it faster.
	Mode string `yaml:"mode" default:"auto" check:"auto|off" flag:"speculate"`
	// Path or name of a smaller model of the same vocabulary that guesses where nothing is repeated. Empty for none.
	DraftModel string `yaml:"draft_model" flag:"draft-model" path:"model"`
	// Most tokens to guess ahead.
	DraftMax int `yaml:"draft_max" default:"32" check:"1..64" flag:"draft-max"`
}

// ContextShift is what happens to an answer when the context is full.
type ContextShift struct {
	// Let it go on by forgetting half of what follows the kept beginning; else it ends.
	Enabled bool `yaml:"enabled" default:"false" flag:"context-shift"`
	// Tokens of a prompt's beginning that are kept, up to half of the context; 0 is the whole prompt.
	Keep int `yaml:"keep" default:"0" check:"0..2147483647" flag:"keep"`
}

// VirtualModel is what is offered of a base model under a name.
type VirtualModel struct {
	// Name of its base model.
	Base string `yaml:"base" check:"required"`
	// Set of its base's adapters. Empty for the base model's own alone.
	Adapters string `yaml:"adapters"`
	// What /v1/models tells of it.
	Description string `yaml:"description"`
	// Utility modulation that it imposes. Requests cannot undo it.
	Utility Utility `yaml:"utility"`
	// Most tokens of one conversation; 0 for those of the base model.
	Context int `yaml:"context" default:"0" check:"0..2147483647"`
	// Most tokens of an answer; 0 for as many as the context holds.
	MaxTokens int `yaml:"max_tokens" default:"0" check:"0..2147483647"`
	// What requests may ask of focus.
	Focus Focus `yaml:"focus"`
	// Sampling parameters of requests that give none, by their names in requests: those that are numbers or booleans.
	Defaults map[string]Value `yaml:"defaults"`
	// Which sampling parameters that are numbers requests may give, by their names in requests. What is out of bounds is refused by name; a default of the API that
	// is outside is moved in.
	Bounds map[string]*Bound `yaml:"bounds"`
	// What it shows.
	Show Show `yaml:"show"`
}

// Utility is the modulation that a virtual model imposes; the zero value is none.
type Utility struct {
	// Its effect: the share of steps at which the model's best token stays best. Not beside sigma.
	Level float64 `yaml:"level" check:"0..1" flag:"level"`
	// Standard deviation of the noise on all logits. Not beside level.
	Sigma float64 `yaml:"sigma" check:"0..100" flag:"sigma"`
	// Tokens that the noise depends on, beside a fingerprint of the prompt; 0 is all tokens so far.
	NoiseWindow int `yaml:"noise_window" default:"0" check:"0..1024" flag:"noise-window"`
	// What the noise does to the tokens that end an answer.
	NoiseEnd string `yaml:"noise_end" default:"modulated" check:"modulated|exempt|kept" flag:"noise-end"`
}

// Focus is what requests may ask of focus.
type Focus struct {
	// Largest strength, either way; 0 for no focus at all.
	MaxStrength float64 `yaml:"max_strength" default:"1" check:"0..1"`
	// Whether parts of the prompt may be focused on. Each computes a twin of the conversation.
	Spans bool `yaml:"spans" default:"true"`
	// Whether requests may put noise of their own on words.
	Sigma bool `yaml:"sigma" default:"true"`
}

// Bound limits a sampling parameter of requests. The zero value of Min and Max is none.
type Bound struct {
	// Least value.
	Min *float64 `yaml:"min"`
	// Largest value.
	Max *float64 `yaml:"max"`
	// Whether requests may give it at all.
	Allowed bool `yaml:"allowed" default:"true"`
}

// Show is what a virtual model shows. auto shows what does not tell about unmodulated logits: everything where no utility is imposed.
type Show struct {
	// Log-probabilities of the modulated distribution.
	Logprobs Toggle `yaml:"logprobs" default:"auto"`
	// Reports of what modulation did in full: flips, retention and divergence.
	Reports Toggle `yaml:"reports" default:"auto" flag:"allow-reports"`
	// /v1/aim/preview and /v1/aim/sweep.
	Previews Toggle `yaml:"previews" default:"auto" flag:"allow-reports"`
	// /v1/embeddings, whose hidden states tell raw logits.
	Embeddings Toggle `yaml:"embeddings" default:"auto" flag:"embeddings"`
	// The chat template, in /props.
	Template bool `yaml:"template" default:"true"`
}
