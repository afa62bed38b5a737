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
        path: "/assets/consent-De3R3jyy.js",
        bytes: include_bytes!("assets/consent-De3R3jyy.js"),
    },
    Built {
        path: "/assets/console-CG4oJDxj.js",
        bytes: include_bytes!("assets/console-CG4oJDxj.js"),
    },
    Built {
        path: "/assets/docs-DCCwdcl1.js",
        bytes: include_bytes!("assets/docs-DCCwdcl1.js"),
    },
    Built {
        path: "/assets/dom-CrXJoYlO.css",
        bytes: include_bytes!("assets/dom-CrXJoYlO.css"),
    },
    Built {
        path: "/assets/dom-FHdOnz11.js",
        bytes: include_bytes!("assets/dom-FHdOnz11.js"),
    },
    Built {
        path: "/assets/icon-DOS8cbsp.svg",
        bytes: include_bytes!("assets/icon-DOS8cbsp.svg"),
    },
    Built {
        path: "/assets/words-DQklAoXJ.js",
        bytes: include_bytes!("assets/words-DQklAoXJ.js"),
    },
];
