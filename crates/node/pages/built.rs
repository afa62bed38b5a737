// Made by `npm run build` in web/. Do not edit: `web/check` compares.
const BUILT: [Built; 10] = [
    Built {
        path: "/consent",
        bytes: include_bytes!("consent.html"),
    },
    Built {
        path: "/console",
        bytes: include_bytes!("console.html"),
    },
    Built {
        path: "/docs",
        bytes: include_bytes!("docs.html"),
    },
    Built {
        path: "/assets/consent-DG99S34e.js",
        bytes: include_bytes!("assets/consent-DG99S34e.js"),
    },
    Built {
        path: "/assets/console-LZO-7Wn5.js",
        bytes: include_bytes!("assets/console-LZO-7Wn5.js"),
    },
    Built {
        path: "/assets/docs-CwrEYRVp.js",
        bytes: include_bytes!("assets/docs-CwrEYRVp.js"),
    },
    Built {
        path: "/assets/dom-BUu2LCkj.css",
        bytes: include_bytes!("assets/dom-BUu2LCkj.css"),
    },
    Built {
        path: "/assets/dom-BZAfQrcQ.js",
        bytes: include_bytes!("assets/dom-BZAfQrcQ.js"),
    },
    Built {
        path: "/assets/icon-DOS8cbsp.svg",
        bytes: include_bytes!("assets/icon-DOS8cbsp.svg"),
    },
    Built {
        path: "/assets/words-q4-RmBPo.js",
        bytes: include_bytes!("assets/words-q4-RmBPo.js"),
    },
];
