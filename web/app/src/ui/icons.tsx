// Icons, drawn on a grid of 20 with strokes of the text's colour. They are decoration: what they stand on has a label.

const paths = {
  plus: "M10 4v12M4 10h12",
  send: "M10 16V4M5 9l5-5 5 5",
  stop: "M6 6h8v8H6z",
  retry: "M15.5 10a5.5 5.5 0 1 1-1.7-4M14 2.5V6h-3.5",
  edit: "M4 16l.8-3.2L13.2 4.4l2.4 2.4-8.4 8.4L4 16zM11.5 6l2.5 2.5",
  copy: "M7 7V4.5h8.5V13H13M4.5 7H13v8.5H4.5z",
  check: "M4.5 10.5l3.7 3.7 7.3-8",
  close: "M5 5l10 10M15 5L5 15",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  down: "M5 8l5 5 5-5",
  menu: "M3.5 6h13M3.5 10h13M3.5 14h13",
  sliders: "M3 6h7M14 6h3M3 14h3M10 14h7M12 4v4M8 12v4",
  key: "M12.5 7.5a3.5 3.5 0 1 1-3.2 4.9L5 16.5H3v-2l4.4-4.4a3.5 3.5 0 0 1 5.1-2.6zM12.8 10.8v.01",
  sun: "M10 6.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  moon: "M16 11.5A6.5 6.5 0 1 1 8.5 4a5.2 5.2 0 0 0 7.5 7.5z",
  system: "M3 4.5h14v9H3zM7.5 17h5M10 13.5V17",
  help: "M7.5 7.5a2.5 2.5 0 1 1 3.7 2.2c-.8.4-1.2.9-1.2 1.8M10 14.5v.01M10 2.5a7.5 7.5 0 1 1 0 15 7.5 7.5 0 0 1 0-15z",
  info: "M10 9v5M10 6.2v.01M10 2.5a7.5 7.5 0 1 1 0 15 7.5 7.5 0 0 1 0-15z",
  warning: "M10 3l7.5 13.5h-15zM10 8v4M10 14.3v.01",
  more: "M4.5 10v.01M10 10v.01M15.5 10v.01",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.7 10.5h7.6L14.5 6M8.5 9v4.5M11.5 9v4.5",
  share: "M10 12V3M6.5 6L10 2.5 13.5 6M5 9.5H4v7h12v-7h-1",
  code: "M7 6l-4 4 4 4M13 6l4 4-4 4M11.5 4l-3 12",
  download: "M10 3v9M6.5 9l3.5 3.5L13.5 9M4 16.5h12",
  upload: "M10 12.5v-9M6.5 7L10 3.5 13.5 7M4 16.5h12",
  chat: "M3.5 4.5h13v9h-7L6 16.5v-3H3.5z",
  compare: "M4 4h5v12H4zM11 4h5v12h-5z",
  focus: "M10 5.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM10 2v3M10 15v3M2 10h3M15 10h3",
  inspect: "M9 3.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11zM13 13l4 4M7 11V9M9 11V6.5M11 11V8",
  owner: "M3.5 16.5h13M5 13.5V9M8.5 13.5V4.5M12 13.5V7M15.5 13.5V10",
  search: "M9 3.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11zM13 13l4 4",
  sidebar: "M3 4h14v12H3zM8 4v12",
  play: "M6.5 4.5l9 5.5-9 5.5z",
  reset: "M4.5 10a5.5 5.5 0 1 0 1.7-4M6 2.5V6h3.5",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 20 20" fill={name === "stop" || name === "play" ? "currentColor" : "none"} stroke="currentColor" stroke-width={name === "more" ? 2.6 : 1.6} fill-rule="evenodd" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}
