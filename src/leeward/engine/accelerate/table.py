"""Fingerprints of functions of Tornado that are known: Python › function › code.

Tornado 6.4, 6.4.1, 6.4.2, 6.5, 6.5.1, 6.5.2, 6.5.3, 6.5.4, 6.6, 6.6.1.
Made by tests/outside/fingerprints.py; not to be edited.  More than 400 lines of data, as -O
and -OO make other codes of one function.
"""

from __future__ import annotations

KNOWN: dict[str, dict[str, frozenset[str]]] = {
    "3.11": {
        "tornado.escape:utf8": frozenset({"1baae4e90d59443f", "c758e02cded3236b"}),
        "tornado.httpserver:HTTPServer.start_request": frozenset({"05cf56ad156f787e"}),
        "tornado.httputil:HTTPHeaders.__delitem__": frozenset(
            {"0a95e49f79432d26", "91b809933670ffeb", "93032749977d8e94"}
        ),
        "tornado.httputil:HTTPHeaders.__getitem__": frozenset(
            {"62bf8d46eed75596", "d90253a1993e9f6b"}
        ),
        "tornado.httputil:HTTPHeaders.__init__": frozenset(
            {"6197ee0d1150d9df", "a63db58e05f9f67b", "d4e57a91683adb61"}
        ),
        "tornado.httputil:HTTPHeaders.__setitem__": frozenset(
            {"433b97157594f386", "a1e2cdb7fe1fb779"}
        ),
        "tornado.httputil:HTTPHeaders.add": frozenset(
            {
                "045b00017e2dc1d0",
                "112d01ea42160295",
                "115f0f6b48b84711",
                "14f2f95c721306e9",
                "38759698bff57a3d",
                "6406fd6ae39bd88d",
                "75cdb8f3226ff577",
                "b7fb68c288e0cd36",
                "e4f0d8f8b13204fe",
                "f4e87d14343f1cd2",
            }
        ),
        "tornado.httputil:HTTPServerRequest.__init__": frozenset(
            {"48652b8af1c72885", "68e5a74858a6266d", "812005c2a7d70e6c", "b2dc95d292b1108c"}
        ),
        "tornado.httputil:HTTPServerRequest._parse_body": frozenset({"daf20fc3c38d03df"}),
        "tornado.httputil:_normalize_header": frozenset({"6e1f8743889ca7c7", "9da1e083040b95ca"}),
        "tornado.httputil:format_timestamp": frozenset({"042d9788a724fb87", "67b87eabafc188d5"}),
        "tornado.httputil:parse_body_arguments": frozenset(
            {
                "27844fd904147392",
                "464932a27b0a468b",
                "82a47233d5a6c87e",
                "a04df6508679c560",
                "af31d01af363f5d7",
                "cfeae45302bd0c82",
            }
        ),
        "tornado.process:Subprocess._set_returncode": frozenset(
            {"b450131ac750980c", "dd92f9db8981ad24"}
        ),
        "tornado.process:Subprocess.initialize": frozenset(
            {"913deb2272cce0a2", "940c5b64490febfe"}
        ),
        "tornado.process:Subprocess.set_exit_callback": frozenset(
            {"370e285b1f86bc35", "395dbf51ee6b4eaa"}
        ),
        "tornado.process:Subprocess.uninitialize": frozenset(
            {"5d681b0b0aa732a1", "c18694fe94134b6e"}
        ),
        "tornado.process:Subprocess.wait_for_exit": frozenset(
            {"5f2f999b9e36268a", "78045eedc5d566ce"}
        ),
        "tornado.routing:AnyMatches.match": frozenset({"379737f1ffa724b9"}),
        "tornado.routing:PathMatches.match": frozenset({"47d83cfa621a35d7", "9986c86dba4a0031"}),
        "tornado.routing:Router.start_request": frozenset({"cb2ac83f5f4f670c"}),
        "tornado.routing:RuleRouter.find_handler": frozenset({"130f194634930d43"}),
        "tornado.routing:RuleRouter.get_target_delegate": frozenset(
            {"21b5e1c3bf6eb0bf", "44b19ffc650cb992", "dc1f9efda24a164d"}
        ),
        "tornado.routing:_RoutingDelegate.__init__": frozenset({"1b8c4147d28a4f58"}),
        "tornado.routing:_RoutingDelegate.data_received": frozenset(
            {"6aa765bfb48f16b0", "9a73b6f4472885f3"}
        ),
        "tornado.routing:_RoutingDelegate.finish": frozenset(
            {"8f84ee68debd5cdb", "f77feb5844cc34b9"}
        ),
        "tornado.routing:_RoutingDelegate.headers_received": frozenset(
            {"61e90340bc875889", "f107081754cebc74"}
        ),
        "tornado.routing:_RoutingDelegate.on_connection_close": frozenset(
            {"918613357f302b30", "ddd485dc75c46669", "e456e7579793a016"}
        ),
        "tornado.web:Application.find_handler": frozenset({"5e55da46b97c18a0"}),
        "tornado.web:Application.get_handler_delegate": frozenset(
            {"2ab0301143054e40", "e0f8f2bb623496b0"}
        ),
        "tornado.web:RequestHandler.__init__": frozenset({"80b7dbfc8b60551c", "e2b41d982fecd858"}),
        "tornado.web:RequestHandler._break_cycles": frozenset({"a5096075cf57376e"}),
        "tornado.web:RequestHandler._convert_header_value": frozenset(
            {"4aed625022867314", "ce5be9c9a37a4487", "d26d7027a7c2f089"}
        ),
        "tornado.web:RequestHandler.check_etag_header": frozenset(
            {"dab9155f13afc430", "e57833996b6459a7"}
        ),
        "tornado.web:RequestHandler.clear": frozenset({"3bcbabc7289b9a80", "e9071eb66187c139"}),
        "tornado.web:RequestHandler.compute_etag": frozenset(
            {"6211ff239425791d", "9f4cdd6fac759f89"}
        ),
        "tornado.web:RequestHandler.finish": frozenset(
            {
                "3d24183c175c27eb",
                "5fe4e0f9c69ddd27",
                "6cc822d661303d13",
                "79298c4597ce42c0",
                "d5033ab1b59e4d5b",
                "da7e413a6507718d",
            }
        ),
        "tornado.web:RequestHandler.flush": frozenset(
            {"0b3028d45e932987", "38d6b903cb4800ee", "50e84429d7eb0052"}
        ),
        "tornado.web:RequestHandler.set_etag_header": frozenset(
            {"0eb9e3f93ceeff44", "71aabca0d3eec6a3"}
        ),
        "tornado.web:RequestHandler.set_header": frozenset(
            {"09e63a7edb18b47e", "fbccbaf7723a4fd1"}
        ),
        "tornado.web:RequestHandler.write": frozenset({"b68445dfa16ec457", "bf21459e56b8005e"}),
        "tornado.web:_ApplicationRouter.get_target_delegate": frozenset({"acdf97de53df8e8e"}),
        "tornado.web:_HandlerDelegate.__init__": frozenset(
            {"cd6e91b3bb41cd7d", "f5e722620926bdb9"}
        ),
        "tornado.web:_HandlerDelegate.data_received": frozenset(
            {"adb494b678eadf36", "ccea6c13e5d0f82f"}
        ),
        "tornado.web:_HandlerDelegate.execute": frozenset({"41123c4553143750", "aee8f571303ab557"}),
        "tornado.web:_HandlerDelegate.finish": frozenset(
            {"02c42a3f19ea1725", "312ad48560a88151", "635b4b0e9b18dbdc"}
        ),
        "tornado.web:_HandlerDelegate.headers_received": frozenset({"9429582d016ad2f7"}),
        "tornado.web:_HandlerDelegate.on_connection_close": frozenset({"774fb4e90cd61525"}),
        "tornado.web:_UIModuleNamespace.__init__": frozenset({"94c82898c7662a0c"}),
        "tornado.web:_has_stream_request_body": frozenset({"7c1d106562a2d688", "c8c688552cb0da1d"}),
        "tornado.websocket:WebSocketProtocol13._handle_message": frozenset(
            {
                "1a3ff2fa751a9ec8",
                "1a7cabcecdab5578",
                "1aac778eb9420ed3",
                "1d858a1f1382defb",
                "48299724c336f7a9",
                "936641a923f77494",
                "a8a171d55bbf8a78",
                "ff4d048a757a36dd",
                "ff5a04d3241a5153",
            }
        ),
        "tornado.websocket:WebSocketProtocol13._read_bytes": frozenset({"08836097cb6a7390"}),
        "tornado.websocket:WebSocketProtocol13._receive_frame": frozenset(
            {"97bc07103ce75a54", "a677f40cce0f0594"}
        ),
        "tornado.websocket:WebSocketProtocol13._write_frame": frozenset({"3e6fe4fddef08a9c"}),
        "tornado.websocket:WebSocketProtocol13.write_message": frozenset(
            {"2176cd26b1bbe7d4", "5e34726563f96aa8", "f1405800585d725f"}
        ),
    },
    "3.12": {
        "tornado.escape:utf8": frozenset({"4dee50ed91dac168", "79364302b5f102a7"}),
        "tornado.httpserver:HTTPServer.start_request": frozenset({"b283eb8f90c1ff88"}),
        "tornado.httputil:HTTPHeaders.__delitem__": frozenset(
            {"25adbc281097a3e5", "648d35ca689bb6e0", "9fd2985b7d8f1d4e"}
        ),
        "tornado.httputil:HTTPHeaders.__getitem__": frozenset(
            {"94c03d8d88a3186b", "d21e59c0f74433c2"}
        ),
        "tornado.httputil:HTTPHeaders.__init__": frozenset(
            {"19f0ef9a992af5ba", "86865c0244adb6bd", "f4cc1a13b0a57b7b"}
        ),
        "tornado.httputil:HTTPHeaders.__setitem__": frozenset(
            {"0da0a7539546d891", "9228585002371d56"}
        ),
        "tornado.httputil:HTTPHeaders.add": frozenset(
            {
                "17bedd19c5373921",
                "2d30b6f8f03dd365",
                "3f5c0b99d41f3de6",
                "7fb2d11583ddcf37",
                "be69c1b73a5c27f2",
                "ca74a8bc5af11c1a",
                "db0a137b3135faf7",
                "dff253bd02cbcbd7",
                "e7ae7d8d6a85ca25",
                "efffd971e33e4bbd",
            }
        ),
        "tornado.httputil:HTTPServerRequest.__init__": frozenset(
            {"2839fa6a8da51c86", "37be92e002028c2b", "9246b8dbedb3f0cd", "c90217fcbcb08981"}
        ),
        "tornado.httputil:HTTPServerRequest._parse_body": frozenset({"46c73fa2d2484915"}),
        "tornado.httputil:_normalize_header": frozenset({"07674a3b4b69a0bc", "3ad0379fcdd3197c"}),
        "tornado.httputil:format_timestamp": frozenset({"5381556948497c24", "91b6293985286c57"}),
        "tornado.httputil:parse_body_arguments": frozenset(
            {
                "16d005a60d2b9259",
                "69a028068e0309a8",
                "7bdd06897053f871",
                "93b79c39b6693554",
                "97a4dac832d4adb6",
                "993e4897ccb03b11",
            }
        ),
        "tornado.process:Subprocess._set_returncode": frozenset(
            {"5343fcd95055fa0b", "d2b317caa921c1a4"}
        ),
        "tornado.process:Subprocess.initialize": frozenset(
            {"7c075cd4c1c84546", "827b107f87b26934"}
        ),
        "tornado.process:Subprocess.set_exit_callback": frozenset(
            {"3e3c08a4253da8e0", "ee50c8ebadabb88e"}
        ),
        "tornado.process:Subprocess.uninitialize": frozenset(
            {"9a521a6504c67cb2", "f900ba85d7f7826a"}
        ),
        "tornado.process:Subprocess.wait_for_exit": frozenset(
            {"d8859e74cd7a0d54", "df881310c7fc3819"}
        ),
        "tornado.routing:AnyMatches.match": frozenset({"379737f1ffa724b9"}),
        "tornado.routing:PathMatches.match": frozenset({"172cc68e1d8d6e9c", "ed5f31a2ec231531"}),
        "tornado.routing:Router.start_request": frozenset({"2060af523ffbd555"}),
        "tornado.routing:RuleRouter.find_handler": frozenset({"fbfc8e06d00a526c"}),
        "tornado.routing:RuleRouter.get_target_delegate": frozenset(
            {"0b7dee0405158553", "3d4fae0d1d68b018", "a6097ce86e95d7d1"}
        ),
        "tornado.routing:_RoutingDelegate.__init__": frozenset({"f3a53c78b016ec80"}),
        "tornado.routing:_RoutingDelegate.data_received": frozenset(
            {"aa6a0aa40212926b", "df59d58fcfc0ca74"}
        ),
        "tornado.routing:_RoutingDelegate.finish": frozenset(
            {"33c46f17ed91a2fa", "4975bd3f690ef706"}
        ),
        "tornado.routing:_RoutingDelegate.headers_received": frozenset(
            {"c3eaf3a3f5f07169", "cff99867f6c3fbac"}
        ),
        "tornado.routing:_RoutingDelegate.on_connection_close": frozenset(
            {"1067be60182dce36", "f17cb3c453c82cd8", "f89e2dd2786e0091"}
        ),
        "tornado.web:Application.find_handler": frozenset({"0b23ec0d596dddbb"}),
        "tornado.web:Application.get_handler_delegate": frozenset(
            {"602e60cdaf3953df", "d2cff556b34abd2d"}
        ),
        "tornado.web:RequestHandler.__init__": frozenset({"39d828acd5e6470c", "e372207314c3d35a"}),
        "tornado.web:RequestHandler._break_cycles": frozenset({"05cdf4791314bc66"}),
        "tornado.web:RequestHandler._convert_header_value": frozenset(
            {"194023a49a03b419", "921b0b8685aad699", "ce1ea56ec3744511"}
        ),
        "tornado.web:RequestHandler.check_etag_header": frozenset(
            {"91f757767177ed1d", "9bec2cd8af0eedf6"}
        ),
        "tornado.web:RequestHandler.clear": frozenset({"14011c9ba2a64376", "20a51f0ba8a27f0f"}),
        "tornado.web:RequestHandler.compute_etag": frozenset(
            {"48737c7c403878a4", "9ec32771c019804e"}
        ),
        "tornado.web:RequestHandler.finish": frozenset(
            {
                "4656d8f11f74b833",
                "609695fb66349fa4",
                "65379b067c9c2b62",
                "b670f4ac14556af4",
                "cd067797a6d25034",
                "e7842ea480d879c0",
            }
        ),
        "tornado.web:RequestHandler.flush": frozenset(
            {"64c4218be110dfb5", "83b732d037992a6b", "ebfc2c298aa4b02c"}
        ),
        "tornado.web:RequestHandler.set_etag_header": frozenset(
            {"1a8b93df1cb35993", "f3b8f1aa15293ef6"}
        ),
        "tornado.web:RequestHandler.set_header": frozenset(
            {"4f64af5d85cb71a6", "67331e063690d28e"}
        ),
        "tornado.web:RequestHandler.write": frozenset({"d039bb75aaef010a", "f6ce8ba6bc2ca718"}),
        "tornado.web:_ApplicationRouter.get_target_delegate": frozenset({"ba0fbc774fb6859a"}),
        "tornado.web:_HandlerDelegate.__init__": frozenset(
            {"d1b791700a898806", "f02b654fed444651"}
        ),
        "tornado.web:_HandlerDelegate.data_received": frozenset(
            {"a4685335b40d9649", "e35a0b617f29d05f"}
        ),
        "tornado.web:_HandlerDelegate.execute": frozenset({"5f3026ed8309523e", "e6a85da667d7f50d"}),
        "tornado.web:_HandlerDelegate.finish": frozenset(
            {"05e1fc70506830ab", "14dd723605c0e263", "1d03b3293e43f319"}
        ),
        "tornado.web:_HandlerDelegate.headers_received": frozenset({"3cc51c19f5c32228"}),
        "tornado.web:_HandlerDelegate.on_connection_close": frozenset({"e5b4496628ce2f22"}),
        "tornado.web:_UIModuleNamespace.__init__": frozenset({"cdd1defc63643175"}),
        "tornado.web:_has_stream_request_body": frozenset({"4650b971c43b9a77", "6b2bb9b91026f25c"}),
        "tornado.websocket:WebSocketProtocol13._handle_message": frozenset(
            {
                "0a517d336145ba67",
                "24a0708ad6ac0ac6",
                "394daa855c4b6af0",
                "5edb56f0d00bdeee",
                "6ac4f68a1e8aeb3e",
                "718dc9a3c1bd6aa3",
                "93eb3171413b3a2b",
                "ab9e202c9d79ed8e",
                "b7f906447b3b1fbe",
            }
        ),
        "tornado.websocket:WebSocketProtocol13._read_bytes": frozenset({"796302fa38dd3ecc"}),
        "tornado.websocket:WebSocketProtocol13._receive_frame": frozenset(
            {"2c2e88ddb3ad3eea", "c5e1a3b1d247e241"}
        ),
        "tornado.websocket:WebSocketProtocol13._write_frame": frozenset({"6ac2d6e3cd255c2a"}),
        "tornado.websocket:WebSocketProtocol13.write_message": frozenset(
            {"9d62c2d528dab304", "b0f2e3ae6d4175e0", "dcbe0e3679e3ca9a"}
        ),
    },
    "3.13": {
        "tornado.escape:utf8": frozenset({"0b09bb0ad8d183a7", "b55c8f73521dcb5f"}),
        "tornado.httpserver:HTTPServer.start_request": frozenset({"9d55e38481af15e2"}),
        "tornado.httputil:HTTPHeaders.__delitem__": frozenset(
            {"10fa92adbb78ce29", "718da15e3be58c58", "b281c0fd5e151e32"}
        ),
        "tornado.httputil:HTTPHeaders.__getitem__": frozenset(
            {"08cbe1eef3030cc0", "63dbcb7dd8c71dd0"}
        ),
        "tornado.httputil:HTTPHeaders.__init__": frozenset(
            {"8e416df48181f4b6", "c7af49d2078a3257", "df7b5d78f344490b"}
        ),
        "tornado.httputil:HTTPHeaders.__setitem__": frozenset(
            {"aadc204c9d5c5d0d", "bcdb28fbc8d69392"}
        ),
        "tornado.httputil:HTTPHeaders.add": frozenset(
            {
                "1153668ea4e87c56",
                "40e061ff4b9022ae",
                "8cfbc46a69d2838f",
                "8d540ba68790a2f8",
                "99b3c9bf04635bb8",
                "9fec9bc6c144672b",
                "a63be3c8877c7e7e",
                "b069a2f0bb4fe4cf",
                "c82e5e9eac60e44a",
                "ed26f14f22d81281",
            }
        ),
        "tornado.httputil:HTTPServerRequest.__init__": frozenset(
            {"4ebeabcd0aba1a7b", "69273e63b94f2eb2", "8cc7f0d600dd0845", "949d775b82c12163"}
        ),
        "tornado.httputil:HTTPServerRequest._parse_body": frozenset({"e0bb4a6d9cdbd8d9"}),
        "tornado.httputil:_normalize_header": frozenset({"a8b897da06b2d32c", "f7465877e639b1e3"}),
        "tornado.httputil:format_timestamp": frozenset({"a8ea0ad832131667", "d07667d72acfde1e"}),
        "tornado.httputil:parse_body_arguments": frozenset(
            {
                "00f29dad7cc3aa4d",
                "11e636efd8e123a2",
                "1660c7a955bf4078",
                "833be26b0f6f168d",
                "f39c5709b333cf43",
                "f93359d10d6774ff",
            }
        ),
        "tornado.process:Subprocess._set_returncode": frozenset(
            {"3a1e772794108f8c", "4d1473a34a074b27"}
        ),
        "tornado.process:Subprocess.initialize": frozenset(
            {"192a40b3262a5166", "67a3ee1bac926fe7"}
        ),
        "tornado.process:Subprocess.set_exit_callback": frozenset(
            {"d4292c6911ee8995", "eddba083df290b35"}
        ),
        "tornado.process:Subprocess.uninitialize": frozenset(
            {"3d4db3cef8b55b7b", "b80881df93b7b643"}
        ),
        "tornado.process:Subprocess.wait_for_exit": frozenset(
            {"48a3da562753e2bd", "a2856795151f73dd"}
        ),
        "tornado.routing:AnyMatches.match": frozenset({"402115fe094e056b"}),
        "tornado.routing:PathMatches.match": frozenset({"4a2568ef120b2dc5", "7a036ab3874a398c"}),
        "tornado.routing:Router.start_request": frozenset({"0809b4da87cb742b"}),
        "tornado.routing:RuleRouter.find_handler": frozenset({"b5ebc8b8d6a811f4"}),
        "tornado.routing:RuleRouter.get_target_delegate": frozenset(
            {"09b295dd0d3c109f", "3120a20a1bea532d", "8d61d3a1adc3af79"}
        ),
        "tornado.routing:_RoutingDelegate.__init__": frozenset({"0f73e88401789cde"}),
        "tornado.routing:_RoutingDelegate.data_received": frozenset(
            {"1d4d1e3535a94a43", "27b4751bca9b8dd4"}
        ),
        "tornado.routing:_RoutingDelegate.finish": frozenset(
            {"0f00a19422b9bcbb", "2594b04446de4ef0"}
        ),
        "tornado.routing:_RoutingDelegate.headers_received": frozenset(
            {"125856f50e856de5", "c6e1d5f9f0d4a426"}
        ),
        "tornado.routing:_RoutingDelegate.on_connection_close": frozenset(
            {"316e874427e45c31", "50686330fd455a2a", "e8b20093659690cc"}
        ),
        "tornado.web:Application.find_handler": frozenset({"06ba8740d0862637"}),
        "tornado.web:Application.get_handler_delegate": frozenset(
            {"0771dcc6c60bd0bc", "1189b41821032f47"}
        ),
        "tornado.web:RequestHandler.__init__": frozenset({"8e341aab9e9e0f51", "b1c61ffbc4749b93"}),
        "tornado.web:RequestHandler._break_cycles": frozenset({"d4cef7933d67a0e8"}),
        "tornado.web:RequestHandler._convert_header_value": frozenset(
            {"64806790eb011d17", "741fcf1b782c22a4", "f071963ee55e23d9"}
        ),
        "tornado.web:RequestHandler.check_etag_header": frozenset(
            {"3f44ec3df7be93d9", "9eaf377b71fd7d06"}
        ),
        "tornado.web:RequestHandler.clear": frozenset({"00ec579f0bb8d3f9", "272cbfca770b5f82"}),
        "tornado.web:RequestHandler.compute_etag": frozenset(
            {"cde7309111d98310", "fd28eddba6f1d7df"}
        ),
        "tornado.web:RequestHandler.finish": frozenset(
            {
                "17b48793a3e0ba01",
                "2a907eb742fc4877",
                "561d3dedba813105",
                "69817830f0236291",
                "7d10cd74159e52c9",
                "f2e0eeb41cef7e92",
            }
        ),
        "tornado.web:RequestHandler.flush": frozenset(
            {"413de862e98408ec", "5539004528803fa7", "b7fd01ccb63fea4f"}
        ),
        "tornado.web:RequestHandler.set_etag_header": frozenset(
            {"94c3230b2327814b", "a4974179acc1e678"}
        ),
        "tornado.web:RequestHandler.set_header": frozenset(
            {"2f5acb4ac49a29f7", "ef8ec9fabf2d7ab2"}
        ),
        "tornado.web:RequestHandler.write": frozenset({"a2a196f7fa663fdc", "f8a464f7f6fa6c11"}),
        "tornado.web:_ApplicationRouter.get_target_delegate": frozenset({"d39e832a0420df09"}),
        "tornado.web:_HandlerDelegate.__init__": frozenset(
            {"77295321bcb11c5b", "7cd7d0281cfd557a"}
        ),
        "tornado.web:_HandlerDelegate.data_received": frozenset(
            {"56ecaf3844205360", "6ada6a73982daf28"}
        ),
        "tornado.web:_HandlerDelegate.execute": frozenset({"ba5de212d55647c1", "c4df299a95837ac2"}),
        "tornado.web:_HandlerDelegate.finish": frozenset(
            {"531da24cdee85c2b", "61d13d70c691ae5f", "76307193ccf64d0f"}
        ),
        "tornado.web:_HandlerDelegate.headers_received": frozenset({"884ab7adaa4c9ad9"}),
        "tornado.web:_HandlerDelegate.on_connection_close": frozenset({"2acb3c8c62f66a9f"}),
        "tornado.web:_UIModuleNamespace.__init__": frozenset({"4c5669b7bf7ff2b4"}),
        "tornado.web:_has_stream_request_body": frozenset({"08d8e6dad43b9f0a", "f8c92c39d404c075"}),
        "tornado.websocket:WebSocketProtocol13._handle_message": frozenset(
            {
                "2fd88166db84286a",
                "308e1cbc6f1b3dc4",
                "6f2da53b23ba4315",
                "79ce1b43d9cbb399",
                "979d6ea87d7f8b58",
                "9fef77d9afbc5e66",
                "e0c99424de7ae833",
                "eebdedec6f5c4684",
                "f1cbf7798fed9ad0",
            }
        ),
        "tornado.websocket:WebSocketProtocol13._read_bytes": frozenset({"846d39c2ab60ba96"}),
        "tornado.websocket:WebSocketProtocol13._receive_frame": frozenset(
            {"007be59c7db8bd9a", "91d3b307c9b35f6f"}
        ),
        "tornado.websocket:WebSocketProtocol13._write_frame": frozenset({"d08b0c94c6a12de0"}),
        "tornado.websocket:WebSocketProtocol13.write_message": frozenset(
            {"20a697642bb2bdb9", "82ee2ff1865e0752", "884eb89c1fdf52f7"}
        ),
    },
}
