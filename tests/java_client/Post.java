import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Posts JSON twice with the JDK's client as it is by default, which offers h2c over plain http: `java Post.java URL JSON`. */
class Post {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(arguments[1]))
                .build();
        for (int turn = 0; turn < 2; turn++) {
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                System.err.println(answer.statusCode() + " " + answer.body());
                System.exit(1);
            }
            System.out.print((turn == 0 ? "" : "--- next\n") + answer.body());
        }
    }
}
